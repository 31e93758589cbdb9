//! `atlasctl log serve`: a log for others to read. It writes nothing, and runs until it is told to stop.

use atlas_net::server::serve_log;
use atlas_net::serving::Ends;
use serde::Serialize;

use super::at::At;
use crate::cli::{Global, LogServeArgs};
use crate::exit::{Code, Failure};
use crate::view::escape;
use crate::view::json;
use crate::view::out::Out;

#[derive(Serialize)]
struct Document {
    log: String,
    url: String,
}

/// Serves it.
pub(super) fn serve(args: &LogServeArgs, global: &Global, out: &mut Out) -> Result<Code, Failure> {
    let dir = At::dir(args.log.as_deref(), global)?;
    let served = serve_log(dir.clone(), args.listen, Ends::OnSignal)
        .map_err(|e| Failure::error(format!("log serve: {e}")))?;
    let document = Document {
        log: dir.path().display().to_string(),
        url: format!("http://{}", served.addr()),
    };
    let line = if global.json {
        json::line(&document).map_err(|e| Failure::error(format!("JSON: {e}")))?
    } else {
        format!("{} {}", document.url, escape::line(&document.log))
    };
    out.line(&line)?;
    // Whoever started it learns the address now.
    out.flush()?;
    served.wait();
    Ok(Code::OK)
}
