//! From a plan and what is known of its run to a statement and the private record that opens it. Pure.

use std::collections::BTreeMap;

use atlas_manifests::digest::Sha256;
use atlas_manifests::id::InstanceId;
use atlas_manifests::private::{Opening, PrivateError, withhold};
use atlas_manifests::rows::RunRow;
use atlas_manifests::set::{MemberList, empty_head};
use atlas_manifests::statement::{Asset, Origin, RunStatement, SetHead, Statement};
use atlas_manifests::vocabulary::{Closed, Cut, Hardware, Quiet};
use serde_json::{Value, json};

use super::register::Registration;
use crate::ledger::Plan;
use crate::program::Facts;

/// A statement, and what its withheld fields open to.
pub(super) struct Worded {
    /// What is signed.
    pub statement: Statement,
    /// What stands in the private record.
    pub fields: BTreeMap<String, Opening>,
}

/// What is the same for every statement of an instance.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The instance.
    pub instance: InstanceId,
    /// Titles are withheld.
    pub titles_withheld: bool,
    /// What stands behind its key.
    pub hardware: Hardware,
}

/// The statement for a plan, with what its withheld fields open to.
///
/// # Errors
/// When no randomness is to be had for the salts.
pub(super) fn state(
    frame: &Frame,
    plan: &Plan,
    head: SetHead,
    run: &RunRow,
    facts: &Facts,
    config: Sha256,
    sealed_at: &str,
) -> Result<Option<Worded>, PrivateError> {
    let (Some(digests), row) = (plan.row.digests, &plan.row) else {
        return Ok(None);
    };
    let title = row
        .path
        .as_ref()
        .map(|p| String::from_utf8_lossy(p.base_name()).into_owned());
    let (withheld, fields) = withhold(hidden(plan, run, facts, frame.titles_withheld))?;
    let mut inputs = plan.inputs.clone();
    let mut parent = plan.parent.clone();
    if frame.titles_withheld {
        for input in inputs.iter_mut().chain(parent.as_mut()) {
            input.title = None;
        }
    }
    let statement = Statement {
        version: plan.version,
        title: title.filter(|_| !frame.titles_withheld),
        asset: Asset {
            digests,
            media_type: row
                .media_type
                .clone()
                .unwrap_or_else(|| "application/octet-stream".to_owned()),
            types: plan.types.clone(),
        },
        sealed_at: sealed_at.to_owned(),
        closed: row.closed.unwrap_or(Closed::Explicit),
        status: row.status,
        quiet: row.quiet.unwrap_or(Quiet::Held),
        cut: row.cut.unwrap_or(Cut::Close),
        parent,
        inputs,
        input_set: head,
        members: None,
        origin: Origin::Run(RunStatement {
            id: run.id,
            name: run.name.clone(),
            meta: run.meta.clone(),
            how: run.how,
            started: run.started.clone(),
            process: row.process,
            tree: row.tree,
            program: facts.program.clone(),
            program_digest: facts.exe_digest,
            confined: run.confined,
            git: facts.git.clone(),
            python: facts.python.as_ref().map(|(p, _)| p.clone()),
        }),
        withheld,
        config,
        instance: frame.instance,
        hardware: frame.hardware,
        evidence: None,
    };
    Ok(Some(Worded { statement, fields }))
}

/// Everything that is committed to and not said, by field.
fn hidden(plan: &Plan, run: &RunRow, facts: &Facts, title: bool) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    put("path", plan.row.path.as_ref().map(|p| json!(p)));
    if title {
        put(
            "title",
            plan.row
                .path
                .as_ref()
                .map(|p| json!(String::from_utf8_lossy(p.base_name()))),
        );
    }
    put("argv", Some(json!(facts.argv)));
    put("cwd", facts.cwd.as_ref().map(|c| json!(c)));
    put("exe", facts.exe.as_ref().map(|c| json!(c)));
    put("host", Some(json!(facts.host)));
    put("user", Some(json!(facts.user)));
    put("script", facts.script.as_ref().map(|c| json!(c)));
    put("env", Some(json!(facts.env_names)));
    put(
        "python",
        facts.python.as_ref().map(|(_, lines)| json!(lines)),
    );
    put(
        "run",
        Some(json!({ "argv": run.argv, "cwd": run.cwd, "exe": run.exe })),
    );
    fields
}

/// The statement for a registration: the content was there already, and nobody was seen to make it.
pub(super) fn registered(
    frame: &Frame,
    r: &Registration,
    config: Sha256,
    sealed_at: &str,
) -> Result<Worded, PrivateError> {
    let title = String::from_utf8_lossy(r.path.base_name()).into_owned();
    let (withheld, fields) = withhold([("path".to_owned(), json!(r.path))])?;
    let statement = Statement {
        version: r.version,
        title: Some(title).filter(|_| !frame.titles_withheld),
        asset: Asset {
            digests: r.digests,
            media_type: r.media_type.clone(),
            types: r.types.clone(),
        },
        sealed_at: sealed_at.to_owned(),
        closed: Closed::Explicit,
        status: None,
        quiet: r.quiet,
        cut: Cut::Close,
        parent: None,
        inputs: Vec::new(),
        input_set: empty_head(),
        members: r.members.as_ref().map(MemberList::head),
        origin: Origin::Registered {
            name: r.name.clone(),
            author: r.author.clone(),
        },
        withheld,
        config,
        instance: frame.instance,
        hardware: frame.hardware,
        evidence: None,
    };
    Ok(Worded { statement, fields })
}
