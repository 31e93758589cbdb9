//! Colours, or none. Not layout: a painted text and a plain one hold the same characters.

use std::io::IsTerminal as _;

use atlas_manifests::vocabulary::{State, Tier};
use owo_colors::{OwoColorize as _, Style};

use crate::cli::Color;

/// Whether text is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Paints nothing: what tests compare with.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { on: false };

    /// What `--color`, the environment (NO_COLOR, CLICOLOR_FORCE, TERM) and the kind of standard output ask for.
    pub(crate) fn for_stdout(color: Color) -> Self {
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let choice = anstream::AutoStream::choice(&std::io::stdout());
                match choice {
                    anstream::ColorChoice::Never => false,
                    anstream::ColorChoice::Auto => std::io::stdout().is_terminal(),
                    anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => true,
                }
            }
        };
        Self { on }
    }

    /// What matters most in a line.
    pub(crate) fn strong(self, text: &str) -> String {
        self.with(text, Style::new().bold())
    }

    /// What may be skipped.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with(text, Style::new().dimmed())
    }

    /// Checked, and good.
    pub(crate) fn good(self, text: &str) -> String {
        self.with(text, Style::new().green())
    }

    /// Something a reader should know.
    pub(crate) fn warn(self, text: &str) -> String {
        self.with(text, Style::new().yellow())
    }

    /// Checked, and bad.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with(text, Style::new().red().bold())
    }

    /// A state, in its colour.
    pub(crate) fn state(self, text: &str, state: State) -> String {
        match state {
            State::Sealed | State::Logged => self.good(text),
            State::Incomplete | State::Superseded | State::Unattested => self.warn(text),
            State::Open | State::Held | State::Digesting | State::Waiting => {
                self.with(text, Style::new().cyan())
            }
            State::Excluded | State::Empty => self.dim(text),
        }
    }

    /// A finding, in its colour.
    pub(crate) fn tier(self, text: &str, tier: Tier) -> String {
        match tier {
            Tier::Affirming => self.good(text),
            Tier::Warning => self.warn(text),
            Tier::Contraindicated => self.bad(text),
            Tier::None => self.dim(text),
        }
    }

    fn with(self, text: &str, style: Style) -> String {
        if self.on {
            text.style(style).to_string()
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_as_it_is_and_painted_text_only_gains_colour() {
        assert_eq!(Paint::PLAIN.bad("no"), "no");
        let painted = Paint { on: true }.bad("no");
        assert!(
            painted.starts_with("\x1b[") && painted.ends_with("\x1b[0m") && painted.contains("no")
        );
    }
}
