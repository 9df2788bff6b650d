//! How a fault's measures are written on the command line.

use std::time::Duration;

use bowline_chaos::runner::LASTING_MAX;
use bowline_model::fault::{ALL, LASTING_MIN};

use crate::span;

/// A share, as parts of a million: `20`, `0.5`, `100%`.
pub(crate) fn per_million(text: &str) -> Result<u32, String> {
    let percent: f64 = text.trim_end_matches('%').trim().parse().map_err(|_| "a percentage, 1 to 100")?;
    match (percent * f64::from(ALL) / 100.0).round() {
        share if (1.0..=f64::from(ALL)).contains(&share) => Ok(share as u32),
        _ => Err("more than 0 and 100 at most".to_owned()),
    }
}

/// For how long an experiment's fault lasts.
pub(crate) fn lasting(text: &str) -> Result<Duration, String> {
    let time = span::argument(text)?;
    match (LASTING_MIN..=LASTING_MAX).contains(&time) {
        true => Ok(time),
        false => Err(format!(
            "an experiment's fault lasts from one second to {} minutes; an action of AWS FIS, up to 12 hours",
            LASTING_MAX.as_secs() / 60
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_lasts_no_longer_than_what_is_measured_beside_it() {
        assert_eq!(lasting("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(lasting("50m"), Ok(LASTING_MAX));
        for text in ["51m", "1h", "12h"] {
            let refused = lasting(text).expect_err(text);
            assert!(refused.contains("to 50 minutes"), "{refused}");
        }
        assert!(lasting("0s").is_err() && lasting("soon").is_err());
    }

    #[test]
    fn a_share_is_of_a_million() {
        assert_eq!(per_million("100"), Ok(ALL));
        assert_eq!(per_million("0.5 %"), Ok(5_000));
        for text in ["0", "101", "-1", "NaN", "all"] {
            assert!(per_million(text).is_err(), "{text}");
        }
    }
}
