//! Others who are told of the head: witnesses, who sign that they saw no other, and a public log. On the log's own thread: no seal waits for them.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use atlas_manifests::given;
use atlas_manifests::log::checkpoint::Checkpoint;
use atlas_manifests::log::note::VerifierKey;
use atlas_manifests::log::quorum::Quorum;

use super::guard::extends;
use super::settings::Settings;

/// Heads that come soon after each other are shown together.
const LINGER: Duration = Duration::from_secs(1);
/// After a failure nobody is asked for so long.
const RETRY: Duration = Duration::from_secs(30);
/// No policy that is read is longer, in bytes.
const MAX_POLICY: u64 = 64 << 10;
