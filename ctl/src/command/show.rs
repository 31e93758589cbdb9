//! `atlasctl show`: all that is known of one file, content or run. Says what is recorded; whether it is true is for `verify`.

use std::fs;

use atlas_manifests::digest::Sha256;
use atlas_manifests::id::NodeRef;
use atlas_manifests::private::PrivateRecord;
use atlas_manifests::read;
use atlas_manifests::rows::{RunRow, VersionRow};
use atlas_manifests::shelf::Object;
use atlas_manifests::statement::{Origin, Statement};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{Global, ShowArgs};
use crate::evidence::Evidence;
use crate::exit::{Code, Failure};
use crate::find::{self, What};
use crate::view::out::{self, Out};
use crate::view::paint::Paint;
use crate::view::row;
use crate::view::sheet::Sheet;
use crate::view::{amount, escape};

/// What a version's manifest and private record say, as far as they are here and this user may read them.
#[derive(Default, Serialize)]
struct Sealed {
    statement: Option<Statement>,
    /// What its signer's certificate names.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Sha256>,
    /// Withheld fields whose values are here and fit what was signed.
    disclosed: std::collections::BTreeMap<String, Value>,
    /// Why there is less than there should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Versions {
        versions: Vec<Version<'a>>,
    },
    Run {
        run: &'a RunRow,
        written: Vec<VersionRow>,
    },
}

#[derive(Serialize)]
struct Version<'a> {
    #[serde(flatten)]
    row: &'a VersionRow,
    #[serde(flatten)]
    sealed: Sealed,
}

/// Shows what was named.
pub(crate) fn show(args: &ShowArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let found = find::find(&args.what, global)?;
    if let What::Run(run) = &found.what {
        let written = found.evidence.rows().written_by(run.id)?;
        if global.json {
            out.json(&Document::Run { run, written })?;
        } else {
            out.text(&describe_run(run, &written, Timestamp::now(), out.paint))?;
        }
        return Ok(Code::OK);
    }
    let rows = found.versions(&args.what)?;
    let mut versions = Vec::with_capacity(rows.len());
    for row in &rows {
        let run = row
            .run
            .map(|id| found.evidence.rows().run(id))
            .transpose()?
            .flatten();
        versions.push((row, run, sealed(row, &found.evidence)));
    }
    if global.json {
        let versions = versions
            .into_iter()
            .map(|(row, _, sealed)| Version { row, sealed });
        out.json(&Document::Versions {
            versions: versions.collect(),
        })?;
    } else {
        for (i, (row, run, sealed)) in versions.iter().enumerate() {
            if i > 0 {
                out.line("")?;
            }
            out.text(&describe(
                row,
                run.as_ref(),
                sealed,
                Timestamp::now(),
                out.paint,
            ))?;
        }
        if let What::File {
            located,
            row: Some(row),
        } = &found.what
        {
            say_if_changed(&located.real, row);
        }
    }
    Ok(Code::OK)
}

/// The size is all that can be compared without reading the file; a difference in it is worth a word.
pub(crate) fn say_if_changed(path: &std::path::Path, row: &VersionRow) {
    let (Ok(meta), Some(digests)) = (fs::metadata(path), row.digests) else {
        return;
    };
    if !meta.is_file() {
        return;
    }
    if meta.len() != digests.size {
        let path = path.display();
        out::say(&format!(
            "atlasctl: {path}: is {} bytes now and was {}: this is about the file as it was; see atlasctl verify {path}",
            meta.len(),
            digests.size
        ));
    }
}

fn sealed(row: &VersionRow, evidence: &Evidence) -> Sealed {
    let Some(manifest) = row.manifest else {
        return Sealed::default();
    };
    let trouble = |text: String| Sealed {
        trouble: Some(text),
        ..Sealed::default()
    };
    let bytes = match evidence.shelf().object(Object::Manifest, &manifest.sha256) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return trouble("its manifest is missing from the store".to_owned()),
        Err(e) => return trouble(e.to_string()),
    };
    let (statement, named) = match read::peek_with_evidence(&bytes) {
        Ok(found) => found,
        Err(e) => return trouble(e.to_string()),
    };
    let mut sealed = Sealed {
        evidence: named,
        ..Sealed::default()
    };
    // Not being allowed to read it is the ordinary case for other users.
    if let Ok(Some(bytes)) = evidence.shelf().object(Object::Private, &manifest.sha256) {
        match PrivateRecord::decode(&bytes) {
            Ok(record) => {
                for field in statement.withheld.iter().map(|w| &w.field) {
                    if let Ok(value) = record.open(&statement, field) {
                        sealed.disclosed.insert(field.clone(), value.clone());
                    }
                }
            }
            Err(e) => sealed.trouble = Some(e.to_string()),
        }
    }
    sealed.statement = Some(statement);
    sealed
}

fn describe(
    row: &VersionRow,
    run: Option<&RunRow>,
    sealed: &Sealed,
    now: Timestamp,
    paint: Paint,
) -> String {
    let mut sheet = Sheet::new(&row::node(row), paint);
    let gone = if row.gone {
        "; deleted or replaced since"
    } else {
        ""
    };
    let state = paint.state(&format!("{}{gone}", row::state(row.state)), row.state);
    sheet.row("state", &state);
    sheet.maybe("reason", row.reason.as_deref().map(escape::line));
    if let Some(d) = row.digests {
        sheet.row(
            "size",
            &format!("{} ({} bytes)", amount::size(d.size), amount::count(d.size)),
        );
        sheet.row("blake3", &d.blake3.hex());
        sheet.row("sha256", &d.sha256.hex());
    }
    sheet.maybe("type", row.media_type.as_deref().map(escape::line));
    sheet.maybe(
        "set",
        row.members
            .map(|m| amount::counted(m.size, "member", "members")),
    );
    let sealed_at = row.sealed_at.as_deref();
    sheet.maybe(
        "sealed",
        sealed_at.map(|at| format!("{} ({})", amount::age(at, now), escape::line(at))),
    );
    sheet.maybe("closed", row.closed.map(|c| row::closed(c, row.status)));
    sheet.maybe("quiet", row.quiet.map(|q| row::quiet(q).to_owned()));
    sheet.maybe(
        "inputs",
        row.cut
            .map(|c| format!("{} {}", amount::count(row.inputs), row::cut(c))),
    );
    let before = match row.node {
        NodeRef::Content(_) => "member of",
        NodeRef::Version(_) => "replaces",
    };
    sheet.maybe(before, row.parent.map(|p| p.to_string()));
    sheet.maybe(
        "run",
        run.map(|r| format!("{} {}", row::run_id(r.id), row::run_title(r))),
    );
    sheet.maybe("command", run.map(row::command));
    if let Some(statement) = &sealed.statement {
        describe_origin(&mut sheet, statement);
        sheet.maybe("evidence", sealed.evidence.map(|e| e.hex()));
        sheet.maybe("own quote", statement.evidence.map(|e| e.hex()));
    }
    let manifest = row
        .manifest
        .map(|m| format!("{} ({})", m.sha256.hex(), amount::size(m.size)));
    sheet.maybe("manifest", manifest);
    sheet.row("id", &row.node.to_string());
    if let (Some(statement), NodeRef::Version(_)) = (&sealed.statement, row.node) {
        describe_withheld(&mut sheet, statement, sealed);
    }
    sheet.maybe(
        "trouble",
        sealed
            .trouble
            .as_deref()
            .map(|t| paint.bad(&escape::line(t))),
    );
    sheet.text
}

fn describe_origin(sheet: &mut Sheet, statement: &Statement) {
    match &statement.origin {
        Origin::Registered { name, author } => {
            let or_none =
                |t: &Option<String>| t.as_deref().map_or("(none)".to_owned(), escape::line);
            sheet.row(
                "registered",
                &format!("name {}, author {}", or_none(name), or_none(author)),
            );
        }
        Origin::Run(run) => {
            let digest = run.program_digest.map_or(String::new(), |d| {
                format!(" ({})", amount::prefix(&d.hex()))
            });
            sheet.row(
                "program",
                &format!("{}{digest}", escape::line(&run.program)),
            );
            sheet.maybe("git", run.git.as_ref().map(git));
            let python = run.python.as_ref();
            sheet.maybe(
                "python",
                python.map(|p| amount::counted(p.count.into(), "distribution", "distributions")),
            );
            sheet.row("confined", run.confined.as_str());
        }
    }
    sheet.row("hardware", statement.hardware.as_str());
}

fn git(git: &atlas_manifests::statement::Git) -> String {
    let dirty = match git.dirty {
        Some(true) => ", with changes",
        Some(false) => "",
        None => ", changes unknown",
    };
    format!("{}{dirty}", escape::short(&escape::line(&git.commit), 64))
}

fn describe_withheld(sheet: &mut Sheet, statement: &Statement, sealed: &Sealed) {
    let (mut here, mut not): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for w in &statement.withheld {
        match sealed.disclosed.get(&w.field) {
            Some(value) => here.push(format!(
                "{}={}",
                w.field,
                escape::short(&escape::line(&value.to_string()), 200)
            )),
            None => not.push(escape::line(&w.field)),
        }
    }
    for field in here {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        sheet.row(
            &escape::line(key),
            &format!(
                "{value} {}",
                sheet.paint.dim("(withheld from the manifest)")
            ),
        );
    }
    if !not.is_empty() {
        sheet.row("withheld", &not.join(", "));
    }
}

fn describe_run(run: &RunRow, written: &[VersionRow], now: Timestamp, paint: Paint) -> String {
    const MOST: usize = 50;
    let mut sheet = Sheet::new(&format!("run {}", row::run_title(run)), paint);
    let end = row::outcome(run);
    sheet.row(
        "end",
        &if row::failed(run) {
            paint.bad(&end)
        } else {
            end
        },
    );
    sheet.row("command", &row::command(run));
    sheet.maybe("directory", run.cwd.as_ref().map(|p| escape::name(&p.0)));
    sheet.maybe("script", run.script.as_ref().map(|p| escape::name(&p.0)));
    sheet.maybe("git", run.git.as_ref().map(git));
    let took = run
        .ended
        .as_deref()
        .and_then(|end| amount::between(&run.started, end));
    let took = took.map_or(String::new(), |t| format!(", took {t}"));
    sheet.row(
        "started",
        &format!(
            "{}{took} ({})",
            amount::age(&run.started, now),
            escape::line(&run.started)
        ),
    );
    sheet.maybe("host", run.host.as_deref().map(escape::line));
    sheet.row("user", &run.uid.to_string());
    for (key, value) in &run.meta {
        sheet.row(
            "meta",
            &escape::short(&escape::line(&format!("{key}={value}")), 200),
        );
    }
    sheet.row(
        "known by",
        match run.how {
            atlas_manifests::vocabulary::RunHow::Declared => "atlasctl run",
            atlas_manifests::vocabulary::RunHow::Cgroup => "a cgroup of its own",
            atlas_manifests::vocabulary::RunHow::Tree => "its process tree",
        },
    );
    if !run.processes.is_empty() {
        // Of a run that nobody was seen in, nothing is known.
        sheet.row("confined", run.confined.as_str());
    }
    sheet.row("read", &amount::counted(run.uses, "use", "uses"));
    sheet.row("processes", &amount::count(run.processes.len() as u64));
    sheet.row("id", &run.id.to_string());
    for version in written.iter().take(MOST) {
        let state = paint.state(version.state.as_str(), version.state);
        let size = version
            .digests
            .map_or("-".to_owned(), |d| amount::size(d.size));
        sheet.row("wrote", &format!("{}  {size}  {state}", row::node(version)));
    }
    if written.len() > MOST {
        let more = amount::counted((written.len() - MOST) as u64, "file", "files");
        sheet.row("wrote", &format!("and {more} more: see --json"));
    }
    sheet.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;
    use atlas_manifests::vocabulary::State;

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_empty_file_is_said_to_have_no_manifest() {
        let mut row = sample::version(1, "empty.txt");
        (row.state, row.manifest) = (State::Empty, None);
        let shown = describe(&row, None, &Sealed::default(), now(), Paint::PLAIN);
        assert!(
            shown.contains("empty: no bytes, so there is an entry here and no manifest"),
            "{shown}"
        );
    }

    #[test]
    fn nothing_in_a_version_or_a_run_reaches_the_terminal_unescaped() {
        let evil = "\x1b]0;x\x07\n\u{202e}";
        let mut row = sample::version(1, evil);
        row.reason = Some(evil.to_owned());
        row.media_type = Some(evil.to_owned());
        row.sealed_at = Some(evil.to_owned());
        let mut run = sample::run(1);
        run.name = Some(evil.to_owned());
        run.host = Some(evil.to_owned());
        run.started = evil.to_owned();
        run.meta = vec![(evil.to_owned(), evil.to_owned())];
        run.argv = vec![evil.into()];
        let sealed = Sealed {
            trouble: Some(evil.to_owned()),
            ..Sealed::default()
        };
        let shown = describe(&row, Some(&run), &sealed, now(), Paint::PLAIN)
            + &describe_run(&run, &[row], now(), Paint::PLAIN);
        let bad = shown
            .chars()
            .find(|c| *c != '\n' && escape::unsafe_to_show(*c));
        assert_eq!(bad, None, "{shown}");
        assert!(shown.lines().all(|l| l.starts_with("  ")
            || !l.contains("x\\x07")
            || l.starts_with("run ")
            || l.starts_with('\\')));
    }
}
