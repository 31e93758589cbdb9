//! Where the transparency log stands, as events and bindings are to say it. Not the log.

use atlas_manifests::evidence::LogHead;

/// Where the transparency log stands.
pub trait LogSource: Send + Sync {
    /// Its head; `None` where there is no log.
    fn head(&self) -> Option<LogHead>;

    /// Its head, if everything that is stored is in it.
    fn head_with_all(&self) -> Option<LogHead>;
}
