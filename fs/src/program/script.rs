//! Which script an interpreter runs, from its arguments. Pure: it names candidates, whoever asks sees which of them exists.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use atlas_manifests::bytes::PathBytes;

use super::absolute;
use crate::caller::Seen;

/// An interpreter's options, as far as they matter: which take the next argument, and which leave no script.
struct Grammar {
    /// Begin of the executable's base name; what follows may only be a version.
    names: &'static [&'static str],
    /// Options that take the next argument.
    with_value: &'static [&'static str],
    /// Options after which there is no script: the program stands in the arguments.
    inline: &'static [&'static str],
    /// The option before a module's name.
    module: Option<&'static str>,
    /// Single-letter options may stand together (`-uW ignore`).
    grouped: bool,
}

const GRAMMARS: &[Grammar] = &[
    Grammar {
        names: &["python", "pypy", "ipython"],
        with_value: &["-W", "-X", "-Q", "--check-hash-based-pycs"],
        inline: &["-c"],
        module: Some("-m"),
        grouped: true,
    },
    Grammar {
        names: &["bash", "sh", "dash", "zsh", "ksh", "mksh", "ash", "fish"],
        with_value: &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"],
        inline: &["-c", "-s"],
        module: None,
        grouped: true,
    },
    Grammar {
        names: &["perl"],
        with_value: &["-I"],
        inline: &["-e", "-E"],
        module: None,
        grouped: false,
    },
    Grammar {
        names: &["node", "nodejs", "bun"],
        with_value: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
            "--env-file",
        ],
        inline: &["-e", "--eval", "-p", "--print", "-pe"],
        module: None,
        grouped: false,
    },
    Grammar {
        names: &["ruby"],
        with_value: &["-I", "-r", "-C", "-E", "--encoding"],
        inline: &["-e"],
        module: None,
        grouped: false,
    },
    Grammar {
        names: &["julia"],
        with_value: &[
            "-J",
            "--sysimage",
            "-t",
            "--threads",
            "-p",
            "--procs",
            "-L",
            "--load",
        ],
        inline: &["-e", "-E", "--eval", "--print"],
        module: None,
        grouped: false,
    },
    Grammar {
        names: &["Rscript", "R"],
        with_value: &["-g", "--gui", "-d", "--debugger"],
        inline: &["-e"],
        module: None,
        grouped: false,
    },
];

/// What an argument list says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Script(Vec<u8>),
    Module(Vec<u8>),
}

/// Where the script may lie, most likely first; `None` when the process runs none.
pub(crate) fn path(seen: &Seen) -> Option<Vec<PathBuf>> {
    let exe = seen.exe.as_ref()?;
    let at = |p: &Path| absolute(seen.cwd.as_ref(), p);
    match said(name(exe, &seen.argv), &seen.argv)? {
        Said::Script(script) => Some(vec![at(Path::new(std::ffi::OsStr::from_bytes(&script)))?]),
        // A module of the job's own lies below its working directory; installed ones are not its source.
        Said::Module(module) => {
            let text: Vec<u8> = module
                .iter()
                .map(|b| if *b == b'.' { b'/' } else { *b })
                .collect();
            let base = at(Path::new(std::ffi::OsStr::from_bytes(&text)))?;
            let mut file = base.clone().into_os_string();
            file.push(".py");
            Some(vec![base.join("__main__.py"), PathBuf::from(file)])
        }
    }
}

/// What an interpreter is called: programs that are many in one go by the name that they were started under.
fn name<'a>(exe: &'a PathBytes, argv: &'a [PathBytes]) -> &'a [u8] {
    match (exe.base_name(), argv.first()) {
        (b"busybox" | b"toybox", Some(started)) => {
            let name = started.base_name();
            name.strip_prefix(b"-").unwrap_or(name)
        }
        (own, _) => own,
    }
}

fn said(exe: &[u8], argv: &[PathBytes]) -> Option<Said> {
    let grammar = GRAMMARS.iter().find(|g| {
        g.names.iter().any(|n| {
            exe.strip_prefix(n.as_bytes()).is_some_and(|v| {
                v.iter()
                    .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b't' | b'd'))
            })
        })
    })?;
    let mut args = argv.iter().skip(1).map(|a| a.0.as_slice());
    while let Some(arg) = args.next() {
        let is = |o: &&str| o.as_bytes() == arg;
        if arg == b"--" {
            return args.next().map(|s| Said::Script(s.to_vec()));
        }
        // R says its script in an option.
        if let Some(file) = arg
            .strip_prefix(b"--file=")
            .filter(|_| grammar.names.contains(&"R"))
        {
            return Some(Said::Script(file.to_vec()));
        }
        if arg == b"-" || grammar.inline.iter().any(is) {
            return None;
        }
        let option = arg.starts_with(b"-") || grammar.grouped && arg.starts_with(b"+");
        if !option {
            return (!arg.is_empty()).then(|| Said::Script(arg.to_vec()));
        }
        if grammar.module.iter().any(is) {
            return args.next().map(|m| Said::Module(m.to_vec()));
        }
        if grammar.with_value.iter().any(is) {
            args.next();
            continue;
        }
        if grammar.grouped && !arg.starts_with(b"--") {
            match group(grammar, &arg[1..]) {
                Group::Plain => {}
                Group::TakesNext => {
                    args.next();
                }
                Group::Module([]) => {
                    return args.next().map(|m| Said::Module(m.to_vec()));
                }
                Group::Module(rest) => return Some(Said::Module(rest.to_vec())),
                Group::Inline => return None,
            }
        }
    }
    None
}

enum Group<'a> {
    Plain,
    TakesNext,
    Module(&'a [u8]),
    Inline,
}

/// Letters behind one dash: up to the first that takes a value, which is the rest or the next argument.
fn group<'a>(grammar: &Grammar, letters: &'a [u8]) -> Group<'a> {
    for (at, letter) in letters.iter().enumerate() {
        let option = [b'-', *letter];
        let is = |o: &&str| o.as_bytes() == option;
        let rest = &letters[at + 1..];
        if grammar.inline.iter().any(is) {
            return Group::Inline;
        }
        if grammar.module.iter().any(is) {
            return Group::Module(rest);
        }
        if grammar.with_value.iter().any(is) {
            return if rest.is_empty() {
                Group::TakesNext
            } else {
                Group::Plain
            };
        }
    }
    Group::Plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(exe: &str, line: &str) -> Option<String> {
        let argv: Vec<PathBytes> = line.split(' ').map(PathBytes::from).collect();
        said(exe.as_bytes(), &argv).map(|s| match s {
            Said::Script(p) => String::from_utf8(p).unwrap(),
            Said::Module(m) => format!("module {}", String::from_utf8(m).unwrap()),
        })
    }

    #[test]
    fn options_before_the_script_are_not_the_script() {
        for (exe, line, want) in [
            ("python3.11", "python train.py --lr 1", "train.py"),
            ("python3", "python -u -W ignore train.py", "train.py"),
            ("python3", "python -uW ignore train.py", "train.py"),
            (
                "python3",
                "python -Wignore -X dev -O train.py -c x",
                "train.py",
            ),
            ("python3.13t", "python -- -odd.py", "-odd.py"),
            ("pypy3", "pypy3 /a/b.py", "/a/b.py"),
            (
                "python3",
                "python -m torch.distributed.run train.py",
                "module torch.distributed.run",
            ),
            ("python3", "python -um pkg.train", "module pkg.train"),
            ("bash", "bash -eu -o pipefail run.sh", "run.sh"),
            ("bash", "bash -euo pipefail run.sh", "run.sh"),
            ("bash", "-bash +x run.sh", "run.sh"),
            ("dash", "/bin/sh ./run.sh", "./run.sh"),
            ("perl", "perl -w -I lib x.pl", "x.pl"),
            ("perl5.36", "perl x.pl", "x.pl"),
            ("node", "node --max-old-space-size=99 -r x app.js", "app.js"),
            ("ruby3.1", "ruby -r json x.rb", "x.rb"),
            ("Rscript", "Rscript --vanilla x.R", "x.R"),
            (
                "R",
                "/usr/lib/R/bin/exec/R --no-echo --file=x.R --args 1",
                "x.R",
            ),
            ("julia", "julia -t 4 x.jl", "x.jl"),
        ] {
            assert_eq!(script(exe, line).as_deref(), Some(want), "{line}");
        }
    }

    #[test]
    fn a_program_that_is_many_in_one_is_the_one_it_was_started_as() {
        let argv =
            |line: &str| -> Vec<PathBytes> { line.split(' ').map(PathBytes::from).collect() };
        for (exe, line, want) in [
            ("/bin/busybox", "/bin/sh job.sh", "sh"),
            ("/bin/busybox", "-ash", "ash"),
            ("/usr/bin/dash", "sh job.sh", "dash"),
        ] {
            assert_eq!(name(&exe.into(), &argv(line)), want.as_bytes(), "{line}");
        }
    }

    #[test]
    fn inline_programs_standard_input_and_other_programs_have_no_script() {
        for (exe, line) in [
            ("python3", "python -c print(1) x.py"),
            ("python3", "python -uc print(1)"),
            ("python3", "python -"),
            ("python3", "python"),
            ("bash", "bash -c x y"),
            ("bash", "bash -lc x"),
            ("bash", "bash -s x"),
            ("perl", "perl -e x"),
            ("node", "node -e x"),
            ("gzip", "gzip train.py"),
            ("pythonize", "pythonize x.py"),
            ("shred", "shred x"),
        ] {
            assert_eq!(script(exe, line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_arguments_make_it_panic(argv: Vec<Vec<u8>>, which in 0usize..GRAMMARS.len()) {
            let argv: Vec<PathBytes> = argv.into_iter().map(PathBytes).collect();
            said(GRAMMARS[which].names[0].as_bytes(), &argv);
        }
    }
}
