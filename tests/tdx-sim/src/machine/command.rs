//! What whoever runs a test can order: faults and changes, one a line of text. Only what it says; `machine` does it.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::Errno;
use crate::collateral::TcbStatus;
use crate::hex;
use crate::quote::Shape;
use crate::td::Digest;

/// What happens to one quote. Each attempt to make one meets the first in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is none.
    Fail(Errno),
    /// It takes so much longer.
    Hang(Duration),
    /// It is for other bytes than were asked for: the host has swapped the buffers.
    Swap,
    /// It is right, but somebody sets the input again before the asker looks at the generation.
    RaceLate,
    /// One bit of this byte is wrong.
    Flip(usize),
}

/// One order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `fail ERRNO [N]`, `hang MS [N]`, `swap [N]`, `race late [N]`, `flip BYTE [N]`: for the next N attempts (1).
    Order(Fault, usize),
    /// `race [N]`: somebody else sets the input right behind the next N (1) inputs, to other bytes.
    Race(u64),
    /// `calm`: faults and races that did not happen yet will not happen.
    Calm,
    /// `extend REGISTER HEX96`: by somebody else in the guest.
    Extend(usize, Digest),
    /// `reboot`: registers as the firmware leaves them, another instance, no report items.
    Reboot,
    /// `debug on|off`.
    Debug(bool),
    /// `provider on|off`: whether the guest driver is loaded.
    Provider(bool),
    /// `quote v4|v5|v5td15|v5td15ex`.
    Shape(Shape),
    /// `latency MS`.
    Latency(Duration),
    /// `pad LENGTH`: zero for none.
    Pad(usize),
    /// `truncate LENGTH|off`.
    Truncate(Option<usize>),
    /// `tcb STATUS`: what collateral says from now on.
    Tcb(TcbStatus),
}

/// What a caller has to do after a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Write this collateral where it is looked for.
    Collateral(String),
}

impl FromStr for Command {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let order = |fault, times: Option<&&str>| -> Result<Self> {
            Ok(Self::Order(fault, count(times)? as usize))
        };
        let (name, rest) = words.split_first().context("an empty command")?;
        let most = match (*name, rest.first()) {
            ("fail" | "hang" | "flip" | "extend", _) | ("race", Some(&"late")) => 2,
            ("reboot" | "calm", _) => 0,
            _ => 1,
        };
        ensure!(rest.len() <= most, "{line:?} has too many words");
        let first = || {
            rest.first()
                .copied()
                .with_context(|| format!("{name:?} needs a value"))
        };
        match *name {
            "fail" => order(Fault::Fail(errno(first()?)?), rest.get(1)),
            "hang" => order(Fault::Hang(millis(first()?)?), rest.get(1)),
            "flip" => order(Fault::Flip(first()?.parse()?), rest.get(1)),
            "swap" => order(Fault::Swap, rest.first()),
            "race" if rest.first() == Some(&"late") => order(Fault::RaceLate, rest.get(1)),
            "race" => Ok(Self::Race(count(rest.first())?)),
            "calm" => Ok(Self::Calm),
            "extend" => {
                let register = first()?.parse()?;
                ensure!(register < 4, "there are registers 0 to 3");
                let data = rest.get(1).context("what to extend it with")?;
                Ok(Self::Extend(register, hex::decode_array(data)?))
            }
            "reboot" => Ok(Self::Reboot),
            "debug" => Ok(Self::Debug(switch(first()?)?)),
            "provider" => Ok(Self::Provider(switch(first()?)?)),
            "quote" => Ok(Self::Shape(first()?.parse()?)),
            "latency" => Ok(Self::Latency(millis(first()?)?)),
            "pad" => Ok(Self::Pad(length(first()?)?)),
            "truncate" => match first()? {
                "off" => Ok(Self::Truncate(None)),
                text => Ok(Self::Truncate(Some(length(text)?))),
            },
            "tcb" => Ok(Self::Tcb(first()?.parse()?)),
            other => bail!("{other:?} is no command"),
        }
    }
}

/// A time in milliseconds, with the unit or without.
pub fn millis(text: &str) -> Result<Duration> {
    let number = text.strip_suffix("ms").unwrap_or(text);
    let number = number
        .parse()
        .with_context(|| format!("{text:?} is no time in milliseconds"))?;
    Ok(Duration::from_millis(number))
}

fn count(text: Option<&&str>) -> Result<u64> {
    let times = text.map_or(Ok(1), |text| text.parse())?;
    ensure!(times <= 1_000_000, "{times} times are too many");
    Ok(times)
}

fn length(text: &str) -> Result<usize> {
    let length = text
        .parse()
        .with_context(|| format!("{text:?} is no length"))?;
    ensure!(
        length <= 16 << 20,
        "the kernel takes no output of more than 16 MiB"
    );
    Ok(length)
}

fn switch(text: &str) -> Result<bool> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        other => bail!("{other:?} is neither on nor off"),
    }
}

fn errno(name: &str) -> Result<Errno> {
    let number = match name {
        "EBUSY" => libc::EBUSY,
        "EIO" => libc::EIO,
        "ETIMEDOUT" => libc::ETIMEDOUT,
        "EINTR" => libc::EINTR,
        "EINVAL" => libc::EINVAL,
        "ENXIO" => libc::ENXIO,
        "ENOMEM" => libc::ENOMEM,
        "EAGAIN" => libc::EAGAIN,
        other => bail!("{other:?} is no error that a quote ends with"),
    };
    Ok(Errno(number))
}
