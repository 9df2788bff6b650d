//! Random passwords, by `GetRandomPassword` and a template's `GenerateSecretString`.

use bowline_aws::secretsmanager::GetRandomPasswordRequest;
use zeroize::Zeroizing;

use super::SecretError;
use crate::random;

const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NUMBERS: &str = "0123456789";
/// Source: Secrets Manager API reference, `GetRandomPassword`.
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
const LENGTH_DEFAULT: i64 = 32;
const LENGTH_MAX: i64 = 4_096;
const EXCLUDED_MAX: usize = 4_096;

/// A password of what is asked for, with at least one character of each type unless that is turned
/// off.
pub(crate) fn generate(request: &GetRandomPasswordRequest) -> Result<Zeroizing<String>, SecretError> {
    let wrong = |message: &str| Err(SecretError::Parameter(message.to_owned()));
    let length = request.password_length.unwrap_or(LENGTH_DEFAULT);
    if !(1..=LENGTH_MAX).contains(&length) {
        return wrong("PasswordLength must be between 1 and 4096.");
    }
    let length = usize::try_from(length).unwrap_or(1);
    let excluded = request.exclude_characters.as_deref().unwrap_or_default();
    if excluded.chars().count() > EXCLUDED_MAX {
        return wrong("ExcludeCharacters must have at most 4096 characters.");
    }
    let types = [
        (LOWERCASE, !request.exclude_lowercase.unwrap_or(false)),
        (UPPERCASE, !request.exclude_uppercase.unwrap_or(false)),
        (NUMBERS, !request.exclude_numbers.unwrap_or(false)),
        (PUNCTUATION, !request.exclude_punctuation.unwrap_or(false)),
        (" ", request.include_space.unwrap_or(false)),
    ];
    let types: Vec<Vec<char>> = types
        .into_iter()
        .filter(|(_, included)| *included)
        .map(|(characters, _)| characters.chars().filter(|c| !excluded.contains(*c)).collect())
        .filter(|characters: &Vec<char>| !characters.is_empty())
        .collect();
    let all: Vec<char> = types.concat();
    if all.is_empty() {
        return wrong("There are no characters left to make a password of.");
    }
    let required = request.require_each_included_type.unwrap_or(true);
    if required && types.len() > length {
        return wrong("PasswordLength is too short for a character of each included type.");
    }
    let mut characters = Zeroizing::new(Vec::with_capacity(length));
    if required {
        characters.extend(types.iter().map(|of_type| of_type[below(of_type.len())]));
    }
    while characters.len() < length {
        characters.push(all[below(all.len())]);
    }
    // Where the required ones stand is random too.
    for last in (1..characters.len()).rev() {
        characters.swap(last, below(last + 1));
    }
    let mut password = Zeroizing::new(String::with_capacity(length));
    password.extend(characters.iter());
    Ok(password)
}

/// A random number below `bound` (at most 65,536), none likelier than another.
fn below(bound: usize) -> usize {
    let bound = bound.max(1);
    let limit = 65_536 / bound * bound;
    loop {
        let drawn = usize::from(u16::from_le_bytes(random::bytes()));
        if drawn < limit {
            return drawn % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_password_is_what_was_asked_for(length in 5i64..80, lower: bool, upper: bool, numbers: bool, space: bool) {
            let request = GetRandomPasswordRequest {
                password_length: Some(length),
                exclude_lowercase: Some(lower),
                exclude_uppercase: Some(upper),
                exclude_numbers: Some(numbers),
                include_space: Some(space),
                exclude_characters: Some("\"'\\a0".into()),
                ..GetRandomPasswordRequest::default()
            };
            let password = generate(&request).expect("it can be made");
            let has = |characters: &str| password.chars().any(|c| characters.contains(c));
            prop_assert_eq!(password.chars().count(), usize::try_from(length).unwrap());
            prop_assert_eq!(has(LOWERCASE), !lower);
            prop_assert_eq!(has(UPPERCASE), !upper);
            prop_assert_eq!(has(NUMBERS), !numbers);
            prop_assert_eq!(has(" "), space);
            prop_assert!(has(PUNCTUATION) && !has("\"'\\a0"));
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let none = GetRandomPasswordRequest {
            exclude_lowercase: Some(true),
            exclude_uppercase: Some(true),
            exclude_numbers: Some(true),
            exclude_punctuation: Some(true),
            ..GetRandomPasswordRequest::default()
        };
        assert!(generate(&none).is_err());
        for length in [0, 3, 4_097] {
            let request = GetRandomPasswordRequest { password_length: Some(length), ..Default::default() };
            assert!(generate(&request).is_err(), "{length}");
        }
    }
}
