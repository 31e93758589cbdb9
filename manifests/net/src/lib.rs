//! What of Atlas crosses a network: registers of other machines, witnesses, public logs, logs that others serve. Verification needs none of it.

pub mod register;
