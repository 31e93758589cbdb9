//! `atlasctl policy`: what a verifier demands of hardware evidence, checked and shown. It judges no evidence.

use std::path::PathBuf;

use atlas_manifests::evidence::Policy;
use atlas_manifests::evidence::policy::{PolicyFiles, Require, TcbWord};
use serde::Serialize;

use crate::cli::PolicyVerb;
use crate::command::reference;
use crate::exit::{Code, Failure};
use crate::terms::read_policy;
use crate::view::amount::counted;
use crate::view::escape;
use crate::view::out::Out;

#[derive(Serialize)]
struct Document<'a> {
    policy: PathBuf,
    demands: &'a [Demand],
}

/// What is demanded of one thing.
#[derive(Serialize)]
struct Demand {
    of: &'static str,
    what: String,
}

/// Checks, shows, or prints the schema.
pub(crate) fn policy(verb: &PolicyVerb, json: bool, out: &mut Out) -> Result<Code, Failure> {
    match verb {
        PolicyVerb::Schema => out.json(&Policy::schema())?,
        PolicyVerb::Show { file } => {
            let policy = file.as_deref().map_or(Ok(Policy::default()), read_policy)?;
            if json {
                out.json(&policy)?;
            } else {
                out.text(&toml(&policy)?)?;
            }
        }
        PolicyVerb::Check { file } => {
            let policy = read_policy(file)?;
            let files = policy.files(&[]).map_err(|e| {
                let code = reference::code(&e);
                Failure::new(code, format!("policy {file:?}: names {e}"))
            })?;
            let demands = demands(&policy, &files);
            if json {
                out.json(&Document {
                    policy: file.clone(),
                    demands: &demands,
                })?;
            } else {
                for Demand { of, what } in &demands {
                    out.line(&format!("{of:<13} {}", escape::line(what)))?;
                }
            }
        }
    }
    Ok(Code::OK)
}

/// TOML has no word for a field without a value: those are named in a comment.
fn toml(policy: &Policy) -> Result<String, Failure> {
    let text = policy
        .to_toml()
        .map_err(|e| Failure::error(format!("policy: cannot be written as TOML: {e}")))?;
    let mut shown: String = text.lines().map(|l| escape::line(l) + "\n").collect();
    let unset = policy.unset();
    if !unset.is_empty() {
        shown.push_str(&format!("\n# Without a value: {}\n", unset.join(", ")));
    }
    Ok(shown)
}

fn demands(policy: &Policy, files: &PolicyFiles) -> Vec<Demand> {
    let demand = |of, what: Vec<String>| Demand {
        of,
        what: what.join("; "),
    };
    let evidence = match policy.evidence.require {
        Require::Nothing => "need not be there; what is there must not be bad",
        Require::File => "must be there and good for the file itself",
        Require::Lineage => {
            "must be there and good for the file and every ancestor that has a manifest"
        }
    };
    vec![
        demand("evidence", vec![evidence.to_owned()]),
        demand("platform", platform(policy)),
        demand(
            "TD",
            vec![
                allowed("debug", policy.td.allow_debug),
                allowed("service TDs", policy.td.allow_service_td),
            ],
        ),
        demand("patch level", tcb(policy)),
        demand("measurements", measurements(policy, files)),
        demand("runtime log", runtime_log(policy)),
        demand("freshness", freshness(policy)),
        demand("simulated", vec![simulated(policy).to_owned()]),
        demand(
            "artifacts",
            vec![
                match policy.artifacts.require_reference {
                    true => "a file's content must be among the reference values",
                    false => "a file's content need not be among the reference values",
                }
                .to_owned(),
            ],
        ),
        demand("log", log(policy, files)),
    ]
}

fn log(policy: &Policy, files: &PolicyFiles) -> Vec<String> {
    let p = &policy.log;
    let there = match p.require {
        true => "a file must be proven to be in its node's log",
        false => "a file need not be in its node's log; what the log shows must not be bad",
    };
    let mut what = vec![there.to_owned()];
    if let Some(quorum) = &files.witnesses {
        let named = counted(quorum.witnesses().len() as u64, "witness", "witnesses");
        let enough = match p.require {
            true => "enough of them must have cosigned",
            false => "too few are a warning",
        };
        what.push(format!("{named} named: {enough}"));
    }
    if let Some(n) = p.max_cosignature_age_seconds {
        what.push(format!(
            "cosigned in the last {}",
            counted(n, "second", "seconds")
        ));
    }
    if p.bound_key {
        what.push(
            "signed by a key that a quote binds, where evidence stands behind the file".to_owned(),
        );
    }
    what
}

fn allowed(what: &str, yes: bool) -> String {
    format!("{what} {}", if yes { "allowed" } else { "refused" })
}

fn platform(policy: &Policy) -> Vec<String> {
    let p = &policy.platform;
    let mut what = vec![
        allowed("hyperthreading", p.allow_smt),
        allowed("packages that are added later", p.allow_dynamic_platform),
        allowed("root keys kept by Intel", p.allow_cached_keys),
    ];
    if let Some(ppid) = &p.ppid {
        what.push(format!("PPID one of: {}", ppid.join(", ")));
    }
    what
}

fn tcb(policy: &Policy) -> Vec<String> {
    let p = &policy.tcb;
    let words: Vec<_> = p.accept.iter().copied().map(TcbWord::as_str).collect();
    let mut what = vec![words.join(" or ")];
    if p.min_evaluation_data_number > 0 {
        let n = p.min_evaluation_data_number;
        what.push(format!("by collateral number {n} or later"));
    }
    if !p.reject_advisories.is_empty() {
        what.push(format!("not open: {}", p.reject_advisories.join(", ")));
    }
    if policy.requires_today() {
        what.push("also today".to_owned());
    }
    what
}

fn measurements(policy: &Policy, files: &PolicyFiles) -> Vec<String> {
    let p = &policy.measurements;
    let mut what = vec!["those of a reference value that is pinned".to_owned()];
    for v in &files.references.documents {
        let holds = reference::holds(&v.document);
        what.push(format!("or of {:?} ({holds})", v.document.name));
    }
    if !p.signers.is_empty() {
        let signers = counted(p.signers.len() as u64, "signer", "signers");
        what.push(format!("signed, {signers} named"));
    }
    if p.require_ccel {
        what.push("with a firmware event log".to_owned());
    }
    what
}

fn runtime_log(policy: &Policy) -> Vec<String> {
    let p = &policy.runtime_log;
    let there = match p.require {
        true => "must be there where evidence must",
        false => "need not be there",
    };
    let mut what = vec![
        there.to_owned(),
        allowed("what others extended", p.allow_foreign),
    ];
    if !p.base.is_empty() {
        let n = counted(p.base.len() as u64, "other value", "other values");
        what.push(format!("may begin at {n} of RTMR3"));
    }
    what
}

fn freshness(policy: &Policy) -> Vec<String> {
    let p = &policy.freshness;
    let age = p.max_age_seconds.map_or("any age".to_owned(), |n| {
        format!("at most {} old", counted(n, "second", "seconds"))
    });
    let mut what = vec![age];
    if p.require_nonce {
        what.push("must answer a nonce".to_owned());
    }
    what
}

fn simulated(policy: &Policy) -> &'static str {
    match (&policy.simulated.root, policy.simulated.allow) {
        (None, _) => "refused",
        (Some(_), false) => "looked at under the simulator's root; never passes (code 10)",
        (Some(_), true) => "may pass under the simulator's root; verdicts say SIMULATED",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn said(text: &str) -> String {
        let policy = Policy::parse(text, Path::new("p.toml")).unwrap();
        let all = demands(&policy, &PolicyFiles::default());
        let lines = all.iter().map(|d| format!("{}: {}\n", d.of, d.what));
        lines.collect()
    }

    #[test]
    fn every_field_changes_what_is_said() {
        let plain = said("");
        for text in [
            "[evidence]\nrequire = \"file\"",
            "[evidence]\nrequire = \"lineage\"",
            "[platform]\nallow-smt = false",
            "[platform]\nallow-dynamic-platform = false",
            "[platform]\nallow-cached-keys = false",
            "[platform]\nppid = [\"00112233445566778899aabbccddeeff\"]",
            "[td]\nallow-debug = true",
            "[td]\nallow-service-td = true",
            "[tcb]\naccept = [\"OutOfDate\"]",
            "[tcb]\nmin-evaluation-data-number = 17",
            "[tcb]\nreject-advisories = [\"INTEL-SA-00960\"]",
            "[tcb]\nrequire-today = true",
            "[measurements]\nsigners = [\"k.pem\"]",
            "[measurements]\nrequire-ccel = true",
            "[runtime-log]\nrequire = false",
            "[runtime-log]\nallow-foreign = true",
            "[freshness]\nmax-age-seconds = 1",
            "[freshness]\nrequire-nonce = true",
            "[simulated]\nroot = \"s.pem\"",
            "[simulated]\nroot = \"s.pem\"\nallow = true",
            "[artifacts]\nrequire-reference = true",
        ] {
            assert_ne!(said(text), plain, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_and_names_what_has_no_value() {
        let shown = toml(&Policy::default()).unwrap();
        let read = Policy::parse(&shown, Path::new("p.toml")).unwrap();
        assert_eq!(read, Policy::default(), "{shown}");
        assert!(shown.contains("simulated.root"), "{shown}");
    }
}
