//! Ratios against native: see `src/bin`.
