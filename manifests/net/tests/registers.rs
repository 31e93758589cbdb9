//! Registers on the servers that they are for, each started here, on loopback, and on servers that lie. Where a server's program is missing,
//! its tests say so.

#[path = "registers/cases.rs"]
mod cases;
#[path = "registers/etcd.rs"]
mod etcd;
#[path = "registers/liars.rs"]
mod liars;
#[path = "registers/postgres.rs"]
mod postgres;
#[path = "registers/s3.rs"]
mod s3;
#[path = "registers/servers.rs"]
mod servers;
