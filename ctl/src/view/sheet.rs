//! Lines of a key and a value, under a title. Escapes nothing: whoever fills it does.

use crate::view::paint::Paint;

/// The lines so far.
pub(crate) struct Sheet {
    /// What is shown.
    pub text: String,
    /// How.
    pub paint: Paint,
}

impl Sheet {
    /// A title alone.
    pub(crate) fn new(title: &str, paint: Paint) -> Self {
        let text = format!("{}\n", paint.strong(title));
        Self { text, paint }
    }

    /// One line more.
    pub(crate) fn row(&mut self, key: &str, value: &str) {
        let key = self.paint.dim(&format!("{key:<12}"));
        self.text.push_str(&format!("  {key} {value}\n"));
    }

    /// One line more, when there is something to say.
    pub(crate) fn maybe(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.row(key, &value);
        }
    }
}
