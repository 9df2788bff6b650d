//! Distinguished names, from AWS Private CA's `ASN1Subject`.
//!
//! Source of the fields' limits: AWS Private CA API reference, `ASN1Subject`; of their object
//! identifiers: X.520 and RFC 5280, appendix A.

use bowline_aws::acmpca::Subject;

use super::der::{self, tag};

/// Most attributes of a custom name. Source: `ASN1Subject.CustomAttributes`.
const CUSTOM_MAX: usize = 150;

/// Why a subject is none. For people; blames the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidName(String);

/// The name in DER.
pub(crate) fn encode(subject: &Subject) -> Result<Vec<u8>, InvalidName> {
    let fields = [
        ("Country", &subject.country, "2.5.4.6", 2, true),
        ("Organization", &subject.organization, "2.5.4.10", 64, false),
        ("OrganizationalUnit", &subject.organizational_unit, "2.5.4.11", 64, false),
        ("DistinguishedNameQualifier", &subject.distinguished_name_qualifier, "2.5.4.46", 64, true),
        ("State", &subject.state, "2.5.4.8", 128, false),
        ("CommonName", &subject.common_name, "2.5.4.3", 64, false),
        ("SerialNumber", &subject.serial_number, "2.5.4.5", 64, true),
        ("Locality", &subject.locality, "2.5.4.7", 128, false),
        ("Title", &subject.title, "2.5.4.12", 64, false),
        ("Surname", &subject.surname, "2.5.4.4", 40, false),
        ("GivenName", &subject.given_name, "2.5.4.42", 16, false),
        ("Initials", &subject.initials, "2.5.4.43", 5, false),
        ("Pseudonym", &subject.pseudonym, "2.5.4.65", 128, false),
        ("GenerationQualifier", &subject.generation_qualifier, "2.5.4.44", 3, false),
    ];
    let given = fields.into_iter().filter_map(|(field, value, oid, most, printable)| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        Some((field, value, oid, most, printable))
    });
    let mut parts = Vec::new();
    for (field, value, oid, most, printable) in given {
        if value.chars().count() > most {
            return Err(InvalidName(format!("Subject.{field} has more than {most} characters.")));
        }
        if field == "Country" && !(value.len() == 2 && value.chars().all(|c| c.is_ascii_alphabetic())) {
            return Err(InvalidName("Subject.Country is not two letters.".into()));
        }
        if value.chars().any(char::is_control) || printable && !value.chars().all(is_printable) {
            return Err(InvalidName(format!("Subject.{field} has a character that it may not have.")));
        }
        let kind = if printable { tag::PRINTABLE_STRING } else { tag::UTF8_STRING };
        parts.push(attribute(der::known_oid(oid), kind, value));
    }
    if !subject.custom_attributes.is_empty() {
        if !parts.is_empty() {
            return Err(InvalidName(
                "Subject: CustomAttributes cannot be used together with other attributes.".into(),
            ));
        }
        if subject.custom_attributes.len() > CUSTOM_MAX {
            return Err(InvalidName(format!("Subject has more than {CUSTOM_MAX} attributes.")));
        }
        for custom in &subject.custom_attributes {
            let oid = der::oid(&custom.object_identifier).ok_or_else(|| {
                InvalidName("Subject.CustomAttributes: an ObjectIdentifier is none.".to_owned())
            })?;
            let (value, most) = (&custom.value, 256);
            if value.is_empty() || value.chars().count() > most || value.chars().any(char::is_control) {
                return Err(InvalidName(format!(
                    "Subject.CustomAttributes: a value must have 1-{most} characters, without control characters."
                )));
            }
            parts.push(attribute(oid, tag::UTF8_STRING, value));
        }
    }
    if parts.is_empty() {
        return Err(InvalidName("Subject has no attribute.".into()));
    }
    Ok(der::sequence(parts))
}

/// The name with one common name, or none at all where it is too long for one.
pub(crate) fn of_common_name(name: &str) -> Vec<u8> {
    match name.chars().count() <= 64 {
        true => der::sequence([attribute(der::known_oid("2.5.4.3"), tag::UTF8_STRING, name)]),
        false => der::sequence::<&[u8]>([]),
    }
}

fn attribute(oid: Vec<u8>, kind: u8, value: &str) -> Vec<u8> {
    let pair = der::sequence([oid, der::value(kind, value.as_bytes())]);
    der::value(tag::SET, &pair)
}

/// X.680 §41.4.
fn is_printable(c: char) -> bool {
    c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c)
}

#[cfg(test)]
mod tests {
    use bowline_aws::acmpca::CustomAttribute;
    use x509_parser::{prelude::FromDer as _, x509::X509Name};

    use super::*;

    #[test]
    fn writes_what_is_asked_and_refuses_what_is_no_name() {
        let subject = Subject {
            common_name: Some("Ünïcode CA".into()),
            country: Some("DE".into()),
            organization: Some("Shop".into()),
            ..Subject::default()
        };
        let (rest, name) =
            X509Name::from_der(&encode(&subject).unwrap()).map(|(r, n)| (r.len(), n.to_string())).unwrap();
        assert_eq!((rest, name.as_str()), (0, "C=DE, O=Shop, CN=Ünïcode CA"));

        let with = |change: fn(&mut Subject)| {
            let mut changed = subject.clone();
            change(&mut changed);
            encode(&changed).is_ok()
        };
        assert!(with(|subject| subject.common_name = Some("x".repeat(64))));
        assert!(!with(|subject| subject.common_name = Some("x".repeat(65))));
        assert!(!with(|subject| subject.country = Some("D1".into())));
        assert!(!with(|subject| subject.serial_number = Some("a*b".into())));
        assert!(!with(|subject| subject.organization = Some("a\nb".into())));
        let custom = |oid: &str| vec![CustomAttribute { object_identifier: oid.into(), value: "v".into() }];
        assert!(encode(&Subject { custom_attributes: custom("1.2.3.4"), ..Subject::default() }).is_ok());
        assert!(encode(&Subject { custom_attributes: custom("x"), ..Subject::default() }).is_err());
        assert!(encode(&Subject { custom_attributes: custom("1.2.3"), ..subject }).is_err());
        assert!(encode(&Subject::default()).is_err());
    }
}
