//! What a person asks of a live mount: figures, mode, trouble. `status` as JSON, `metrics` as Prometheus text.

use std::fmt::Write as _;

use atlas_manifests::bytes::PathBytes;
use atlas_manifests::vocabulary::Hardware;
use atlas_manifests::wire::{EvidenceStatus, Status};

use super::{Engine, lock};

impl Engine {
    /// Everything that `atlasctl status` shows.
    pub fn status(&self) -> Status {
        let o = &self.options;
        let counts = lock(&self.ledger).counts();
        let mut warnings = o.warnings.clone();
        warnings.extend(lock(&self.trouble).clone());
        let (outside, gone) = self.callers.unnamed();
        if outside > 0 {
            warnings.push(format!("{outside} requests came from outside the daemon's pid namespace and were credited to every open run"));
        }
        if gone > 0 {
            warnings.push(format!(
                "{gone} requests came from processes that were gone before they could be looked at"
            ));
        }
        warnings.extend(self.unattested.clone());
        let standing = self.keeper.as_ref().map(|k| k.standing());
        warnings.extend(standing.iter().flat_map(|s| s.troubles.clone()));
        let hardware = standing.as_ref().map_or(Hardware::None, |s| s.hardware);
        let (log, troubles) = self.log_status();
        warnings.extend(troubles);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            source: PathBytes::from(o.source.as_path()),
            mountpoint: PathBytes::from(o.mountpoint.as_path()),
            state: PathBytes::from(o.state.as_path()),
            node_state: PathBytes::from(o.node_state.join(o.node.to_string())),
            socket: PathBytes::from(o.socket.as_path()),
            node: o.node,
            instance: o.instance,
            io: o.io.clone(),
            io_reason: o.io_reason.clone(),
            read_only: o.read_only,
            hardware: hardware.as_str().to_owned(),
            evidence: standing.map(|s| EvidenceStatus {
                first: s.first,
                last: s.last,
                anchors: s.anchors,
                config: s.config,
            }),
            log: Some(log),
            authority: o.authority.fingerprint(),
            mounted_at: self.mounted_at.clone(),
            open: counts.open,
            pending: counts.pending,
            sealed: counts.sealed,
            behind: counts.behind,
            warnings,
        }
    }

    /// Figures for Prometheus.
    pub(super) fn metrics(&self) -> String {
        let counts = lock(&self.ledger).counts();
        let (outside, gone) = self.callers.unnamed();
        let queued = self.pool().map_or(0, |p| p.queued() as u64);
        let standing = self.keeper.as_ref().map(|k| k.standing());
        let (log, _) = self.log_status();
        let figures: [(&str, &str, &str, u64); 13] = [
            (
                "atlas_versions_open",
                "gauge",
                "Versions open or held.",
                counts.open,
            ),
            (
                "atlas_versions_pending",
                "gauge",
                "Versions that ended and are not sealed.",
                counts.pending,
            ),
            (
                "atlas_versions_sealed_total",
                "counter",
                "Versions sealed by this instance.",
                counts.sealed,
            ),
            (
                "atlas_behind_total",
                "counter",
                "Contents that changed without the mount having seen it.",
                counts.behind,
            ),
            (
                "atlas_digests_queued",
                "gauge",
                "Digest jobs queued.",
                queued,
            ),
            (
                "atlas_callers_outside_total",
                "counter",
                "Requests from outside the daemon's pid namespace.",
                outside,
            ),
            (
                "atlas_callers_gone_total",
                "counter",
                "Requests whose process was gone at once.",
                gone,
            ),
            (
                "atlas_self_requests_total",
                "counter",
                "Requests of the daemon to its own mount; must be 0.",
                self.self_requests(),
            ),
            (
                "atlas_evidence_anchors_total",
                "counter",
                "Quotes that this instance had made after its first.",
                standing.as_ref().map_or(0, |s| s.anchors),
            ),
            (
                "atlas_evidence_unanchored",
                "gauge",
                "Manifests that no quote shows yet in the event log.",
                standing.as_ref().map_or(0, |s| s.open),
            ),
            (
                "atlas_log_leaves",
                "gauge",
                "Leaves of the node's transparency log.",
                log.size,
            ),
            (
                "atlas_log_waiting",
                "gauge",
                "Manifests that are stored and wait for their place in the log.",
                log.waiting,
            ),
            (
                "atlas_store_waiting",
                "gauge",
                "1 while seals wait for the store.",
                u64::from(lock(&self.trouble).is_some()),
            ),
        ];
        let mut out = String::new();
        for (name, kind, help, value) in figures {
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
        out
    }

    fn self_requests(&self) -> u64 {
        self.own_requests.get().map_or(0, |count| count())
    }
}
