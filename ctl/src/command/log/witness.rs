//! `atlasctl log witness`: a small witness for logs of others. What it cosigns is decided in `atlas_net::cosigner`.

use atlas_net::cosigner::Cosigner;
use atlas_net::serving::Ends;
use atlas_net::witness_server;
use serde::Serialize;

use super::policy;
use crate::cli::{Global, LogWitnessArgs};
use crate::exit::{Code, Failure};
use crate::view::escape;
use crate::view::json;
use crate::view::out::Out;

#[derive(Serialize)]
struct Document {
    key: String,
    url: String,
    logs: Vec<String>,
}

/// Runs it.
pub(super) fn witness(
    args: &LogWitnessArgs,
    global: &Global,
    out: &mut Out,
) -> Result<Code, Failure> {
    let Some(state) = &global.state else {
        let text = "log witness: give the directory of its key and its memory with --state DIR";
        return Err(Failure::new(Code::USAGE, text));
    };
    let policy = policy(args.policy.as_deref())?;
    let named = policy.logs().iter().map(|l| l.key.clone());
    let logs: Vec<_> = args.logs.iter().cloned().chain(named).collect();
    let failed = |e: &dyn std::fmt::Display| Failure::error(format!("log witness: {e}"));
    let cosigner = Cosigner::open(state, args.name.as_deref(), &logs).map_err(|e| failed(&e))?;
    let mut document = Document {
        key: cosigner.key().to_string(),
        url: String::new(),
        logs: cosigner.origins().map(str::to_owned).collect(),
    };
    document.logs.sort();
    let served =
        witness_server::serve(cosigner, args.listen, Ends::OnSignal).map_err(|e| failed(&e))?;
    document.url = format!("http://{}", served.addr());
    let line = if global.json {
        json::line(&document).map_err(|e| Failure::error(format!("JSON: {e}")))?
    } else {
        // As it stands in a policy: witness NAME VKEY URL.
        format!("{} {}", escape::line(&document.key), document.url)
    };
    out.line(&line)?;
    out.flush()?;
    served.wait();
    Ok(Code::OK)
}
