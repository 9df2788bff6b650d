//! Integers (RFC 7541, section 5.1).

use super::DecodeError;

/// Bytes after the first: four carry 28 bits, more than any length or index that is meant.
const CONTINUATION_MAX: u32 = 4;

/// Takes an integer from the front of what is left of a block. `prefix` is how many low bits of the first
/// byte belong to it, 1 to 8.
#[inline]
pub(super) fn decode(input: &mut &[u8], prefix: u32) -> Result<usize, DecodeError> {
    let (&first, mut rest) = input.split_first().ok_or(DecodeError::Truncated)?;
    let mask = 0xff_u32 >> (8 - prefix);
    let mut value = u32::from(first) & mask;
    if value == mask {
        let mut read = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(DecodeError::Truncated)?;
            if read == CONTINUATION_MAX {
                return Err(DecodeError::Integer);
            }
            // Less than 2^29 together: it cannot overflow.
            value += u32::from(byte & 0x7f) << (7 * read);
            read += 1;
            rest = after;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *input = rest;
    Ok(value as usize)
}

/// Appends an integer. `flags` are the first byte's bits above the prefix.
#[inline]
pub(super) fn encode(value: usize, prefix: u32, flags: u8, out: &mut Vec<u8>) {
    let mask = 0xff_usize >> (8 - prefix);
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, appendix C.1.
    #[test]
    fn the_examples_of_the_rfc() {
        for (value, prefix, bytes) in
            [(10, 5, &[0x0a][..]), (1_337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a])]
        {
            let mut out = Vec::new();
            encode(value, prefix, 0, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(decode(&mut &bytes[..], prefix), Ok(value));
        }
    }

    #[test]
    fn what_is_written_is_read_again_whatever_its_prefix() {
        for prefix in 1..=8 {
            for value in (0..300).chain([16_383, 16_384, 65_535, (1 << 28) - 1]) {
                let mut out = Vec::new();
                encode(value, prefix, 0, &mut out);
                out.push(7);
                let mut input = &out[..];
                assert_eq!(decode(&mut input, prefix), Ok(value));
                assert_eq!(input, [7]);
            }
        }
    }

    #[test]
    fn an_integer_has_an_end_and_is_not_longer_than_it_may_be() {
        assert_eq!(decode(&mut &[][..], 5), Err(DecodeError::Truncated));
        assert_eq!(decode(&mut &[0x1f][..], 5), Err(DecodeError::Truncated));
        assert_eq!(decode(&mut &[0x1f, 0x80][..], 5), Err(DecodeError::Truncated));
        assert_eq!(decode(&mut &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x01][..], 5), Err(DecodeError::Integer));
        // Zeros that say nothing are no shorter for it.
        assert_eq!(decode(&mut &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x00][..], 5), Err(DecodeError::Integer));
        assert_eq!(decode(&mut &[0x1f, 0xff, 0xff, 0xff, 0x7f][..], 5), Ok(0x1f + (1 << 28) - 1));
    }
}
