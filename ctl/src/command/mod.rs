//! One file for each verb: asks, then shows. What is shared by several verbs stands in `place`, `client` and `view`.

mod attest;
mod doctor;
mod export;
mod lineage;
mod log;
mod ls;
mod manual;
mod policy;
mod reference;
mod register;
mod run;
mod runs;
mod show;
mod status;
mod sync;
mod trust;
mod verify;

use crate::cli::{Cli, Verb};
use crate::exit::{Code, Failure};
use crate::view::out::Out;

/// Does what the command line says.
pub(crate) fn dispatch(cli: &Cli, out: &mut Out) -> Result<Code, Failure> {
    match &cli.verb {
        Verb::Completions(args) => manual::completions(args, out),
        Verb::Man(args) => manual::man(args, out),
        Verb::Run(args) => run::run(args, cli.global.json),
        Verb::Runs(args) => runs::runs(args, &cli.global, out),
        Verb::Show(args) => show::show(args, &cli.global, out),
        Verb::Ls(args) => ls::ls(args, &cli.global, out),
        Verb::Trust(verb) => trust::trust(verb, cli.global.json, out),
        Verb::Attest(args) => attest::attest(args, &cli.global, out),
        Verb::Policy(verb) => policy::policy(verb, cli.global.json, out),
        Verb::Reference(verb) => reference::reference(verb, cli.global.json, out),
        Verb::Verify(args) => verify::verify(args, &cli.global, out),
        Verb::Lineage(args) => lineage::lineage(args, &cli.global, out),
        Verb::Register(args) => register::register(args, cli.global.json, out),
        Verb::Sync(args) => sync::sync(args, cli.global.json, out),
        Verb::Status(args) => status::status(args, cli.global.json, out),
        Verb::Export(args) => export::export(args, &cli.global, out),
        Verb::Log(verb) => log::log(verb, &cli.global, out),
        Verb::Doctor(args) => doctor::doctor(args, &cli.global, out),
    }
}
