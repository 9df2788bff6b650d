//! MessagePack, as far as log records need it.
//!
//! Source: github.com/msgpack/msgpack, spec.md.

use serde_json::{Map, Number};
use thiserror::Error;

/// How deep values may be nested.
const DEPTH_MAX: u32 = 32;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `nil`.
    Nil,
    /// `true` or `false`.
    Boolean(bool),
    /// An integer of up to 64 bits with a sign.
    Signed(i64),
    /// One without.
    Unsigned(u64),
    /// A number with a fraction.
    Float(f64),
    /// A string, or bytes.
    Bytes(Vec<u8>),
    /// An array.
    Array(Vec<Value>),
    /// A map.
    Map(Vec<(Value, Value)>),
    /// An extension: its type and its bytes.
    Extension(i8, Vec<u8>),
}

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// At least so many more bytes are needed.
    #[error("it is cut short: {0} bytes or more are missing")]
    Incomplete(usize),
    /// 0xc1, which is no value.
    #[error("0xc1 begins no value")]
    Reserved,
    /// Values in values in values.
    #[error("values are nested more than {DEPTH_MAX} deep")]
    Depth,
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Reads the value that `bytes` begin with; and how many bytes it takes.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(bytes: &[u8]) -> Result<(Value, usize), DecodeError> {
    let mut decoder = Decoder { bytes, at: 0 };
    let value = decoder.value(0)?;
    Ok((value, decoder.at))
}

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        match rest.get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(DecodeError::Incomplete(count - rest.len())),
        }
    }

    fn number(&mut self, width: usize) -> Result<u64, DecodeError> {
        Ok(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, width: usize) -> Result<Value, DecodeError> {
        let shift = 64 - 8 * width as u32;
        Ok(Value::Signed((self.number(width)? << shift) as i64 >> shift))
    }

    fn length(&mut self, width: usize) -> Result<usize, DecodeError> {
        Ok(self.number(width)? as usize)
    }

    fn bytes(&mut self, length: usize) -> Result<Value, DecodeError> {
        Ok(Value::Bytes(self.take(length)?.to_vec()))
    }

    fn extension(&mut self, length: usize) -> Result<Value, DecodeError> {
        let kind = self.number(1)? as u8 as i8;
        Ok(Value::Extension(kind, self.take(length)?.to_vec()))
    }

    /// Each element takes a byte or more: nothing is reserved for what is not there.
    fn expect(&self, elements: usize) -> Result<(), DecodeError> {
        let rest = self.bytes.len() - self.at;
        if elements > rest { Err(DecodeError::Incomplete(elements - rest)) } else { Ok(()) }
    }

    fn array(&mut self, length: usize, depth: u32) -> Result<Value, DecodeError> {
        self.expect(length)?;
        let mut elements = Vec::new();
        for _ in 0..length {
            elements.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(elements))
    }

    fn map(&mut self, length: usize, depth: u32) -> Result<Value, DecodeError> {
        self.expect(length.saturating_mul(2))?;
        let mut pairs = Vec::new();
        for _ in 0..length {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(Value::Map(pairs))
    }

    /// Passes a value, but not those inside of it: how many these are.
    fn skip(&mut self) -> Result<u64, DecodeError> {
        let head = self.number(1)? as u8;
        let (length, inside) = match head {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
            0xc1 => return Err(DecodeError::Reserved),
            0x80..=0x8f => (0, 2 * u64::from(head & 0x0f)),
            0x90..=0x9f => (0, u64::from(head & 0x0f)),
            0xa0..=0xbf => (usize::from(head & 0x1f), 0),
            0xc4..=0xc6 => (self.length(1 << (head - 0xc4))?, 0),
            0xc7..=0xc9 => (self.length(1 << (head - 0xc7))? + 1, 0),
            0xca => (4, 0),
            0xcb => (8, 0),
            0xcc..=0xcf => (1 << (head - 0xcc), 0),
            0xd0..=0xd3 => (1 << (head - 0xd0), 0),
            0xd4..=0xd8 => ((1 << (head - 0xd4)) + 1, 0),
            0xd9..=0xdb => (self.length(1 << (head - 0xd9))?, 0),
            0xdc | 0xdd => (0, self.number(2 << (head - 0xdc))?),
            0xde | 0xdf => (0, 2 * self.number(2 << (head - 0xde))?),
        };
        self.take(length)?;
        Ok(inside)
    }

    fn value(&mut self, depth: u32) -> Result<Value, DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::Depth);
        }
        let head = self.number(1)? as u8;
        match head {
            0x00..=0x7f => Ok(Value::Unsigned(head.into())),
            0x80..=0x8f => self.map(usize::from(head & 0x0f), depth),
            0x90..=0x9f => self.array(usize::from(head & 0x0f), depth),
            0xa0..=0xbf => self.bytes(usize::from(head & 0x1f)),
            0xc0 => Ok(Value::Nil),
            0xc1 => Err(DecodeError::Reserved),
            0xc2 => Ok(Value::Boolean(false)),
            0xc3 => Ok(Value::Boolean(true)),
            0xc4..=0xc6 => {
                let length = self.length(1 << (head - 0xc4))?;
                self.bytes(length)
            }
            0xc7..=0xc9 => {
                let length = self.length(1 << (head - 0xc7))?;
                self.extension(length)
            }
            0xca => Ok(Value::Float(f32::from_bits(self.number(4)? as u32).into())),
            0xcb => Ok(Value::Float(f64::from_bits(self.number(8)?))),
            0xcc..=0xcf => Ok(Value::Unsigned(self.number(1 << (head - 0xcc))?)),
            0xd0..=0xd3 => self.signed(1 << (head - 0xd0)),
            0xd4..=0xd8 => self.extension(1 << (head - 0xd4)),
            0xd9..=0xdb => {
                let length = self.length(1 << (head - 0xd9))?;
                self.bytes(length)
            }
            0xdc | 0xdd => {
                let length = self.length(2 << (head - 0xdc))?;
                self.array(length, depth)
            }
            0xde | 0xdf => {
                let length = self.length(2 << (head - 0xde))?;
                self.map(length, depth)
            }
            0xe0..=0xff => Ok(Value::Signed(i64::from(head as i8))),
        }
    }
}

/// Finds where a value ends while its bytes are still coming: each byte is looked at once.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    at: usize,
    /// Values that are still to come, the one that is looked at included.
    values: u64,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { at: 0, values: 1 }
    }
}

impl Scanner {
    /// Goes on with all bytes that there are now, those of before included: how long the value is, once it is whole.
    ///
    /// # Errors
    /// The bytes are no value.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        let mut decoder = Decoder { bytes, at: self.at };
        while self.values > 0 {
            match decoder.skip() {
                Ok(inside) => self.values = (self.values - 1).saturating_add(inside),
                Err(DecodeError::Incomplete(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
            self.at = decoder.at;
        }
        Ok(Some(self.at))
    }
}

impl Value {
    /// Its text, if it is a string.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    /// A map's value under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Self::Map(pairs) = self else { return None };
        let is_key = |candidate: &Value| matches!(candidate, Self::Bytes(bytes) if bytes == key.as_bytes());
        pairs.iter().find(|(candidate, _)| is_key(candidate)).map(|(_, value)| value)
    }

    /// As JSON: bytes that are no UTF-8 are replaced, numbers that JSON has not are null, extensions are null.
    pub fn into_json(self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Nil | Self::Extension(..) => Json::Null,
            Self::Boolean(value) => Json::Bool(value),
            Self::Signed(value) => Json::Number(value.into()),
            Self::Unsigned(value) => Json::Number(value.into()),
            Self::Float(value) => Number::from_f64(value).map_or(Json::Null, Json::Number),
            Self::Bytes(bytes) => Json::String(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            }),
            Self::Array(elements) => Json::Array(elements.into_iter().map(Self::into_json).collect()),
            Self::Map(pairs) => Json::Object(into_object(pairs)),
        }
    }
}

/// A map as a JSON object; keys that are no strings are written as JSON.
pub fn into_object(pairs: Vec<(Value, Value)>) -> Map<String, serde_json::Value> {
    let key = |key: Value| match key {
        Value::Bytes(_) => key.text().unwrap_or_default(),
        other => other.into_json().to_string(),
    };
    pairs.into_iter().map(|(name, value)| (key(name), value.into_json())).collect()
}

fn head(out: &mut Vec<u8>, length: usize, fix: (u8, usize), wide: [u8; 2]) {
    if length < fix.1 {
        out.push(fix.0 | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(wide[0]);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(wide[1]);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

/// Begins an array.
pub fn write_array(out: &mut Vec<u8>, length: usize) {
    head(out, length, (0x90, 16), [0xdc, 0xdd]);
}

/// Begins a map.
pub fn write_map(out: &mut Vec<u8>, length: usize) {
    head(out, length, (0x80, 16), [0xde, 0xdf]);
}

/// Writes a string.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    head(out, text.len(), (0xa0, 32), [0xda, 0xdb]);
    out.extend_from_slice(text.as_bytes());
}

/// Writes bytes.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, bytes.len(), (0, 0), [0xc5, 0xc6]);
    out.extend_from_slice(bytes);
}

/// Writes a whole number.
pub fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    if number < 0x80 {
        out.push(number as u8);
    } else {
        out.push(0xcf);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// Writes an `EventTime`: seconds and nanoseconds.
pub fn write_event_time(out: &mut Vec<u8>, seconds: u32, nanoseconds: u32) {
    out.extend_from_slice(&[0xd7, 0x00]);
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&nanoseconds.to_be_bytes());
}

/// Writes a JSON value.
pub fn write_json(out: &mut Vec<u8>, value: &serde_json::Value) {
    use serde_json::Value as Json;
    match value {
        Json::Null => out.push(0xc0),
        Json::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Json::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => write_unsigned(out, number),
            (_, Some(number), _) => {
                out.push(0xd3);
                out.extend_from_slice(&number.to_be_bytes());
            }
            (_, _, number) => {
                out.push(0xcb);
                out.extend_from_slice(&number.unwrap_or_default().to_be_bytes());
            }
        },
        Json::String(text) => write_text(out, text),
        Json::Array(elements) => {
            write_array(out, elements.len());
            elements.iter().for_each(|element| write_json(out, element));
        }
        Json::Object(object) => write_object(out, object),
    }
}

/// Writes a JSON object.
pub fn write_object(out: &mut Vec<u8>, object: &Map<String, serde_json::Value>) {
    write_map(out, object.len());
    for (key, value) in object {
        write_text(out, key);
        write_json(out, value);
    }
}
