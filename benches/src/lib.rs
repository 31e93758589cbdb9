//! Measuring: workloads on one directory, and medians over interleaved rounds. Not what is compared: see `src/bin`.

pub mod house;
// The honest attester of the verifier's own tests.
#[allow(dead_code, reason = "tests spoil what honest evidence leaves alone")]
#[path = "../../manifests/tests/evidence/lab.rs"]
mod lab;
pub mod load;
pub mod rounds;

/// How much work: the real thing, or just enough to show that everything runs.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Rounds; the median of them counts.
    pub rounds: usize,
    /// Bytes of a large file.
    pub large: usize,
    /// Number of random reads.
    pub reads: usize,
    /// Number of small files.
    pub small: usize,
    /// Numbers of inputs whose manifest is weighed.
    pub inputs: [usize; 3],
}

impl Scale {
    /// From the command line: `--smoke` for a run of seconds, whose numbers mean nothing.
    ///
    /// # Errors
    /// Any other argument.
    pub fn from_args() -> anyhow::Result<Self> {
        let args: Vec<_> = std::env::args().skip(1).collect();
        match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Ok(Self {
                rounds: 9,
                large: 256 << 20,
                reads: 30_000,
                small: 2_000,
                inputs: [1, 64, 10_000],
            }),
            ["--smoke"] => Ok(Self {
                rounds: 1,
                large: 2 << 20,
                reads: 200,
                small: 20,
                inputs: [1, 8, 64],
            }),
            _ => anyhow::bail!("usage: [--smoke]; got {args:?}"),
        }
    }
}
