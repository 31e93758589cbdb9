//! `atlasctl lineage`: what something was made from, or what was made from it.

use atlas_manifests::graph::{self, Options};
use atlas_manifests::id::NodeRef;
use atlas_manifests::vocabulary::Grade;
use jiff::Timestamp;

use crate::cli::{Global, LineageArgs};
use crate::command::show::say_if_changed;
use crate::exit::{Code, Failure};
use crate::find::{self, What};
use crate::view::lineage::{Look, draw};
use crate::view::out::{self, Out};

/// Shows the lineage of a file's own version, or of every version with one content.
pub(crate) fn lineage(args: &LineageArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let found = find::find(&args.what, global)?;
    let rows = found.versions(&args.what)?;
    let roots: Vec<NodeRef> = rows.iter().map(|r| r.node).collect();
    let options = Options {
        depth: args.depth.map(|d| usize::try_from(d).unwrap_or(usize::MAX)),
        downstream: args.downstream,
        min_grade: args.min_grade.unwrap_or(Grade::ProcessTree),
        kinds: args.kind.clone(),
        all: args.all,
    };
    let lineage = graph::lineage(found.evidence.rows(), &roots, &options)?;
    if global.json {
        out.json(&lineage)?;
        return Ok(Code::OK);
    }
    let look = Look {
        downstream: args.downstream,
        all: args.all,
        now: Timestamp::now(),
        paint: out.paint,
    };
    out.text(&draw(&lineage, look))?;
    out.flush()?;
    if lineage.cut {
        out::say("There is more behind this: see --depth.");
    }
    if lineage.edges.is_empty() && !lineage.cut {
        out::say(if args.downstream {
            "Nothing is known that was made from it, of this grade and kind: see --all."
        } else {
            "No inputs of this grade and kind are known: see --all."
        });
    }
    if let (What::File { located, .. }, [row]) = (&found.what, &rows[..]) {
        say_if_changed(&located.real, row);
    }
    Ok(Code::OK)
}
