//! `atlasctl runs`: the jobs, newest first.

use atlas_manifests::id::RunId;
use atlas_manifests::rows::RunRow;
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::{Global, RunsArgs};
use crate::evidence::Evidence;
use crate::exit::{Code, Failure};
use crate::place;
use crate::view::out::{self, Out};
use crate::view::paint::Paint;
use crate::view::table::{Cell, table};
use crate::view::{amount, escape, row};

#[derive(Serialize)]
struct Document {
    runs: Vec<Line>,
}

/// One run in JSON: the fields of `lineage --json`, and what only a list of runs says.
#[derive(Serialize)]
struct Line {
    id: RunId,
    name: Option<String>,
    argv: Vec<String>,
    exe: Option<String>,
    started: String,
    ended: Option<String>,
    exit: Option<i32>,
    meta: std::collections::BTreeMap<String, String>,
    uses: u64,
    written: u64,
}

/// Lists runs.
pub(crate) fn runs(args: &RunsArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let evidence = match &args.at {
        Some(path) => Evidence::at(&place::locate(path)?, global)?,
        None => Evidence::here(global)?,
    };
    if let Evidence::Nothing(_) | Evidence::Mount(..) = evidence {
        return Err(Failure::new(
            Code::NO_DAEMON,
            "runs: no daemon and no state directory here: name a path on the mount, or --state",
        ));
    }
    let mut all = evidence.rows().runs()?;
    all.reverse();
    all.retain(|r| !args.failed || row::failed(r));
    let mut written = Vec::with_capacity(all.len());
    for run in &all {
        written.push(evidence.rows().written_by(run.id)?.len() as u64);
    }
    if global.json {
        let runs = all
            .into_iter()
            .zip(written)
            .map(|(run, n)| line(run, n))
            .collect();
        out.json(&Document { runs })?;
    } else if all.is_empty() {
        out::say(if args.failed {
            "No run failed."
        } else {
            "No runs yet."
        });
    } else {
        out.text(&list(&all, &written, Timestamp::now(), out.paint))?;
    }
    Ok(Code::OK)
}

fn line(run: RunRow, written: u64) -> Line {
    Line {
        id: run.id,
        name: run.name,
        argv: run
            .argv
            .iter()
            .map(atlas_manifests::bytes::PathBytes::lossy)
            .collect(),
        exe: run.exe.map(|e| e.lossy()),
        started: run.started,
        ended: run.ended,
        exit: run.exit,
        meta: run.meta.into_iter().collect(),
        uses: run.uses,
        written,
    }
}

fn list(runs: &[RunRow], written: &[u64], now: Timestamp, paint: Paint) -> String {
    let rows: Vec<_> = runs
        .iter()
        .zip(written)
        .map(|(run, written)| {
            let end = Cell::new(row::outcome(run)).painted(|text| match run.exit {
                Some(0) => paint.good(text),
                Some(_) => paint.bad(text),
                None => text.to_owned(),
            });
            let took = run
                .ended
                .as_deref()
                .and_then(|end| amount::between(&run.started, end));
            [
                Cell::new(row::run_id(run.id)),
                end,
                Cell::new(amount::age(&run.started, now)),
                Cell::right(took.unwrap_or_default()),
                Cell::right(amount::count(run.uses)),
                Cell::right(amount::count(*written)),
                Cell::new(title(run, paint)),
            ]
        })
        .collect();
    table(
        [
            "RUN",
            "END",
            "STARTED",
            "TOOK",
            "READ",
            "WROTE",
            "NAME OR COMMAND",
        ],
        &rows,
        paint,
    )
}

fn title(run: &RunRow, paint: Paint) -> String {
    match &run.name {
        Some(_) => {
            let command = escape::short(&row::command(run), 60);
            format!(
                "{}  {}",
                paint.strong(&row::run_title(run)),
                paint.dim(&command)
            )
        }
        None => row::run_title(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample;

    #[test]
    fn a_killed_run_can_be_told_from_one_that_went_well() {
        let mut killed = sample::run(2);
        (killed.name, killed.exit) = (None, Some(137));
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let shown = list(&[killed, sample::run(1)], &[0, 3], now, Paint::PLAIN);
        let expected = "\
RUN         END             STARTED  TOOK   READ  WROTE  NAME OR COMMAND
09090909:2  killed SIGKILL  2 h ago   1 h  1,437      0  python train.py '--lr=1\\x1b[2J'
09090909:1  ok              2 h ago   1 h  1,437      3  train-1  python train.py '--lr=1\\x1b[2J'
";
        assert_eq!(shown, expected);
    }
}
