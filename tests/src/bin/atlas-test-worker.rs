//! A worker of the model test: executes the operations that it is sent. `SOCKET NAME PROCESSES TREE...`. Decides nothing.
//!
//! It says hello with its name and process id, and answers each line with one: for each tree what the operation said, a tab, how
//! its file looks then, a tab. The processes beyond the first are its children, with a connection each.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use atlas_tests::worker::Tree;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, name, processes, trees @ ..] = &args[..] else {
        panic!("SOCKET NAME PROCESSES TREE...");
    };
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let processes: u32 = processes.parse().expect("a number of processes");
    let children: Vec<_> = (1..processes)
        .map(|n| {
            let this = std::env::current_exe().expect("a running program has a path");
            let mut child = Command::new(this);
            child.arg(socket).arg(format!("{name}.{n}")).arg("1");
            child.args(trees).spawn().expect("this program again")
        })
        .collect();
    serve(socket, name, trees);
    for mut child in children {
        let _ = child.wait();
    }
}

fn serve(socket: &str, name: &str, trees: &[String]) {
    let mut out = UnixStream::connect(socket).expect("the tester listens");
    let lines = BufReader::new(out.try_clone().expect("a descriptor"));
    let mut trees: Vec<Tree> = trees.iter().map(|t| Tree::new(Path::new(t))).collect();
    writeln!(out, "{name} {}", std::process::id()).expect("the tester reads");
    for line in lines.lines() {
        let Ok(line) = line else { return };
        let mut answer = String::new();
        for tree in &mut trees {
            let said = tree.execute(&line);
            answer.push_str(&said.result);
            answer.push('\t');
            answer.push_str(&said.file);
            answer.push('\t');
        }
        answer.push('\n');
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
