//! `atlasctl attest verify`: reads what was given, and hands it to `atlas_manifests::verify`, which decides.

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::evidence::appraise::Presented;
use atlas_manifests::verify::{self as check, FileVerdict, Report};

use super::file::{self, Held};
use crate::cli::{AttestVerifyArgs, Nonce};
use crate::exit::{Code, Failure};
use crate::terms;
use crate::view::out::Out;
use crate::view::verdict;

/// Verifies one piece of evidence.
pub(super) fn verify(args: &AttestVerifyArgs, json: bool, out: &mut Out) -> Result<Code, Failure> {
    let appraiser = terms::appraiser(&args.evidence)?;
    let path = PathBytes::from(&*args.file);
    let nonce = match &args.nonce {
        Some(Nonce::Given(bytes)) => Some(&**bytes),
        // The command line knows no random nonce here: nothing answers one that is made up now.
        Some(Nonce::Random) | None => None,
    };
    let verdict = match file::read(&args.file)? {
        Held::Evidence(given) => {
            let collateral = given.collateral();
            let presented = Presented {
                evidence: &given.evidence,
                earlier: &|id| given.earlier(id),
                collateral: collateral.as_deref(),
                nonce,
            };
            check::verify_evidence(&appraiser, &path, &presented)
        }
        Held::Other(why, _) => {
            let remedy = "have it written again with atlasctl attest -o, and copy it whole";
            FileVerdict::failed(&path, check::Code::Evidence, why, remedy)
        }
    };
    let report = Report::of(vec![verdict]);
    if json {
        out.json(&report)?;
    } else {
        for verdict in &report.files {
            out.text(&verdict::evidence(verdict, out.paint))?;
        }
    }
    Ok(Code::from(report.code.number()))
}
