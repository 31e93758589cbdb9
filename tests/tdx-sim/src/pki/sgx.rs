//! The SGX extension of a PCK certificate, as DER by hand: which processor, which microcode. It is written only; parsing it is what is tested.

use super::WorldOptions;

/// 1.2.840.113741.1.13.1: the extension, and the prefix of everything inside it.
pub(super) const OID: &[u64] = &[1, 2, 840, 113_741, 1, 13, 1];
/// The same as DER content.
const OID_DER: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

/// The security version of each of the sixteen parts of the platform; collateral asks for at least these.
pub(crate) const CPU_SVN: [u8; 16] = [5; 16];
/// That of the provisioning certification enclave.
pub(crate) const PCE_SVN: u8 = 11;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;

/// The value of the extension.
pub(super) fn extension(options: &WorldOptions, ppid: &[u8; 16]) -> Vec<u8> {
    let mut tcb: Vec<Vec<u8>> = (1..=16)
        .zip(CPU_SVN)
        .map(|(part, svn)| entry(&[2, part], tlv(INTEGER, &[svn])))
        .collect();
    tcb.push(entry(&[2, 17], tlv(INTEGER, &[PCE_SVN])));
    tcb.push(entry(&[2, 18], tlv(OCTETS, &CPU_SVN)));
    let configuration = [
        (1, options.dynamic_platform),
        (2, options.cached_keys),
        (3, options.smt),
    ]
    .map(|(flag, on)| entry(&[7, flag], tlv(BOOLEAN, &[if on { 0xff } else { 0 }])));
    sequence(&[
        entry(&[1], tlv(OCTETS, ppid)),
        entry(&[2], sequence(&tcb)),
        entry(&[3], tlv(OCTETS, &[0, 0])),
        entry(&[4], tlv(OCTETS, &options.fmspc.0)),
        // Scalable, as all TDX hosts are.
        entry(&[5], tlv(ENUMERATED, &[1])),
        entry(&[6], tlv(OCTETS, &[9; 16])),
        entry(&[7], sequence(&configuration)),
    ])
}

/// An identifier below the extension's own, and its value.
fn entry(suffix: &[u8], value: Vec<u8>) -> Vec<u8> {
    let identifier = tlv(IDENTIFIER, &[&OID_DER, suffix].concat());
    sequence(&[identifier, value])
}

fn sequence(items: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &items.concat())
}

/// Tag, length, value. Nothing here comes near 64 KiB, the most that this form of the length can say.
fn tlv(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match body.len() {
        short @ 0..128 => out.push(short as u8),
        medium @ 128..256 => out.extend([0x81, medium as u8]),
        long => {
            out.push(0x82);
            out.extend((long as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(tlv(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(tlv(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[7; 256])[..4], [4, 0x82, 1, 0]);
    }
}
