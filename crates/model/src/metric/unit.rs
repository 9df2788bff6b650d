//! What values are measured in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! units {
    ($($(#[$doc:meta])* $unit:ident => $text:literal,)*) => {
        /// A unit of CloudWatch's (`StandardUnit`); `None` by default.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Unit {
            /// No unit is told.
            #[default]
            None,
            $($(#[$doc])* #[serde(rename = $text)] $unit,)*
        }

        impl Unit {
            /// Every unit there is.
            pub const ALL: &'static [Unit] = &[Self::None, $(Self::$unit),*];

            /// As CloudWatch writes it.
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::None => "None",
                    $(Self::$unit => $text,)*
                }
            }
        }
    };
}

units! {
    /// Seconds.
    Seconds => "Seconds",
    /// Microseconds.
    Microseconds => "Microseconds",
    /// Milliseconds.
    Milliseconds => "Milliseconds",
    /// Bytes.
    Bytes => "Bytes",
    /// Kilobytes.
    Kilobytes => "Kilobytes",
    /// Megabytes.
    Megabytes => "Megabytes",
    /// Gigabytes.
    Gigabytes => "Gigabytes",
    /// Terabytes.
    Terabytes => "Terabytes",
    /// Bits.
    Bits => "Bits",
    /// Kilobits.
    Kilobits => "Kilobits",
    /// Megabits.
    Megabits => "Megabits",
    /// Gigabits.
    Gigabits => "Gigabits",
    /// Terabits.
    Terabits => "Terabits",
    /// Of a hundred.
    Percent => "Percent",
    /// A number of things.
    Count => "Count",
    /// Bytes a second.
    BytesPerSecond => "Bytes/Second",
    /// Kilobytes a second.
    KilobytesPerSecond => "Kilobytes/Second",
    /// Megabytes a second.
    MegabytesPerSecond => "Megabytes/Second",
    /// Gigabytes a second.
    GigabytesPerSecond => "Gigabytes/Second",
    /// Terabytes a second.
    TerabytesPerSecond => "Terabytes/Second",
    /// Bits a second.
    BitsPerSecond => "Bits/Second",
    /// Kilobits a second.
    KilobitsPerSecond => "Kilobits/Second",
    /// Megabits a second.
    MegabitsPerSecond => "Megabits/Second",
    /// Gigabits a second.
    GigabitsPerSecond => "Gigabits/Second",
    /// Terabits a second.
    TerabitsPerSecond => "Terabits/Second",
    /// Things a second.
    CountPerSecond => "Count/Second",
}

/// No unit is called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no unit that CloudWatch has")]
pub struct UnknownUnit(String);

impl FromStr for Unit {
    type Err = UnknownUnit;

    fn from_str(text: &str) -> Result<Self, UnknownUnit> {
        let unknown = || UnknownUnit(text.chars().take(64).collect());
        Self::ALL.iter().find(|unit| unit.as_str() == text).copied().ok_or_else(unknown)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
