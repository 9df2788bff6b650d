//! The Huffman code of strings (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other, and those of the next length follow them.
//! Decoding looks the next ten bits up, which is a whole code for all that is usual, and finds longer codes
//! by the first code of each length.

use super::DecodeError;

/// Bits of a look-up.
const WINDOW: u32 = 10;
/// The longest code, EOS's.
const LENGTH_MAX: u32 = 30;

/// The lengths of the codes of all bytes, in bits. The code is canonical, so they are all of it.
#[rustfmt::skip]
const CODE_LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Codes and their lengths. EOS, thirty ones, is not among them: it is never sent.
static CODES: [(u32, u8); 256] = codes();

const fn codes() -> [(u32, u8); 256] {
    let mut codes = [(0, 0); 256];
    let (mut code, mut length) = (0, 1);
    while length <= LENGTH_MAX {
        code <<= 1;
        let mut symbol = 0;
        while symbol < 256 {
            if CODE_LENGTHS[symbol] as u32 == length {
                codes[symbol] = (code, length as u8);
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    assert!(code == (1 << LENGTH_MAX) - 1, "EOS is the last");
    codes
}

/// By the next [`WINDOW`] bits: the symbol, and above it the length of its code, 0 where that is longer.
static SHORT: [u16; 1 << WINDOW] = {
    let codes = codes();
    let mut table = [0; 1 << WINDOW];
    let mut symbol = 0;
    while symbol < 256 {
        let (code, length) = codes[symbol];
        if length as u32 <= WINDOW {
            let spare = WINDOW - length as u32;
            let mut at = (code << spare) as usize;
            let end = at + (1 << spare);
            while at < end {
                table[at] = symbol as u16 | (length as u16) << 8;
                at += 1;
            }
        }
        symbol += 1;
    }
    table
};

/// Codes longer than the window, of one length.
#[derive(Clone, Copy)]
struct Long {
    /// The first code of the next length, its bits at the top of 32.
    end: u32,
    /// The first code.
    first: u32,
    /// Of the first code's symbol, in [`SYMBOLS`].
    at: u16,
}

const LONG: usize = (LENGTH_MAX - WINDOW) as usize;

const fn long() -> ([Long; LONG], [u8; 256]) {
    let codes = codes();
    let mut rows = [Long { end: 0, first: 0, at: 0 }; LONG];
    let mut symbols = [0; 256];
    let (mut length, mut found, mut end) = (1, 0, 0);
    while length <= LENGTH_MAX {
        let mut row = Long { end, first: end >> (32 - length), at: found };
        let mut symbol = 0;
        while symbol < 256 {
            let (code, bits) = codes[symbol];
            if bits as u32 == length {
                symbols[found as usize] = symbol as u8;
                found += 1;
                row.end = (code + 1) << (32 - length);
            }
            symbol += 1;
        }
        end = row.end;
        if length > WINDOW {
            rows[(length - WINDOW - 1) as usize] = row;
        }
        length += 1;
    }
    (rows, symbols)
}

static LENGTHS: [Long; LONG] = long().0;
static SYMBOLS: [u8; 256] = long().1;

/// Decodes a string into `out`, in place of what it held: at most 8/5 of its length.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    // The shortest code has five bits.
    out.clear();
    out.resize(input.len() * 8 / 5, 0);
    let mut written = 0;
    // The next bits, at the top; below them zeros.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut rest = input;
    loop {
        if count < LENGTH_MAX {
            if let Some((chunk, after)) = rest.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*chunk)) << (32 - count);
                count += 32;
                rest = after;
            } else {
                for &byte in rest {
                    bits |= u64::from(byte) << (56 - count);
                    count += 8;
                }
                rest = &[];
            }
        }
        let entry = SHORT[(bits >> (64 - WINDOW)) as usize];
        let (symbol, length) = match entry >> 8 {
            0 => long_code((bits >> 32) as u32).unwrap_or((0, u32::MAX)),
            length => (entry as u8, u32::from(length)),
        };
        if length > count {
            break;
        }
        // There is room: each code has five bits or more.
        if let Some(place) = out.get_mut(written) {
            *place = symbol;
        }
        written += 1;
        bits <<= length;
        count -= length;
    }
    // What is left is the beginning of EOS, and less than a byte of it.
    let padding = !(u64::MAX >> count);
    if count >= 8 || bits & padding != padding {
        return Err(DecodeError::Huffman);
    }
    out.truncate(written);
    Ok(())
}

/// The symbol and length of the code at the top of `bits`, if it is none of the short ones; none for EOS.
#[cold]
fn long_code(bits: u32) -> Option<(u8, u32)> {
    let row = LENGTHS.iter().position(|row| bits < row.end)?;
    let length = WINDOW + 1 + row as u32;
    let row = LENGTHS[row];
    let symbol = usize::from(row.at) + ((bits >> (32 - length)) - row.first) as usize;
    Some((SYMBOLS[symbol], length))
}

/// How long a string is when it is encoded, in bytes.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(CODES[usize::from(byte)].1)).sum();
    bits.div_ceil(8)
}

/// Appends a string, padded with ones.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for &byte in text {
        let (code, length) = CODES[usize::from(byte)];
        bits = bits << length | u64::from(code);
        count += u32::from(length);
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
        }
    }
    while count >= 8 {
        count -= 8;
        out.push((bits >> count) as u8);
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | 0xff >> count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|()| out)
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out.len(), encoded_len(text));
        out
    }

    #[test]
    fn each_symbol_is_read_again_alone_and_before_and_after_others() {
        for symbol in 0..=255 {
            for text in [vec![symbol], vec![symbol; 9], vec![b'a', symbol, b'0', symbol]] {
                assert_eq!(decoded(&encoded(&text)), Ok(text));
            }
        }
    }

    #[test]
    fn padding_is_ones_and_less_than_a_byte() {
        assert_eq!(decoded(&[]), Ok(vec![]));
        // 'a' is 00011.
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        assert_eq!(decoded(&[0b0001_1110]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0b0001_1000]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0xff]), Err(DecodeError::Huffman));
    }

    #[test]
    fn the_end_of_string_symbol_is_refused() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(DecodeError::Huffman));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err(DecodeError::Huffman));
        // Between others: 'a', EOS, 'a'.
        let bits = (0b00011_u64 << 35) | (0x3fff_ffff << 5) | 0b00011;
        assert_eq!(decoded(&bits.to_be_bytes()[3..]), Err(DecodeError::Huffman));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encoded(&text)), Ok(text));
        }

        /// A string has one encoding, so what can be decoded is encoded to the same bytes.
        #[test]
        fn what_is_decoded_is_encoded_again(input: Vec<u8>) {
            if let Ok(text) = decoded(&input) {
                prop_assert_eq!(encoded(&text), input);
            }
        }
    }
}
