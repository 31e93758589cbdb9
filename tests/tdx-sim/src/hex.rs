//! Bytes as hexadecimal text and back. Not constant in time: nothing here is secret.

use anyhow::{Context as _, Result, ensure};

/// In lower case.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// In either case, an even number of digits and nothing else.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    ensure!(
        text.len().is_multiple_of(2),
        "an odd number of hexadecimal digits"
    );
    let digits = text
        .chars()
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<Vec<u8>>>()
        .with_context(|| format!("{text:?} is not hexadecimal"))?;
    Ok(digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect())
}

/// Exactly `N` bytes.
pub fn decode_array<const N: usize>(text: &str) -> Result<[u8; N]> {
    let bytes = decode(text)?;
    let count = bytes.len();
    bytes
        .try_into()
        .ok()
        .with_context(|| format!("{N} bytes are wanted, there are {count}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_byte_or_a_stranger_is_refused() {
        assert!(decode("abc").is_err());
        assert!(decode("0x").is_err());
        assert!(decode_array::<2>("00").is_err());
        assert_eq!(decode("00fFa5").unwrap(), [0, 0xff, 0xa5]);
        assert_eq!(encode(&[0, 0xff, 0xa5]), "00ffa5");
    }
}
