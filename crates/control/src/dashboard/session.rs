//! Who has signed in: with an access key, as the API knows it. Sessions are in memory alone: a restart ends them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{constant_time, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bowline_plumbing::wall_clock;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Body, Refusal, Request, written};
use crate::{
    api::{call::Caller, recording},
    random,
};

/// How long one lasts.
const LASTS: Duration = Duration::from_secs(12 * 3600);

/// Most at once; for a further one the oldest ends.
const SESSIONS_MAX: usize = 256;

/// So many failures to sign in are answered in [`FAILURES_WITHIN`]; more are not even tried.
const FAILURES_MAX: usize = 10;
const FAILURES_WITHIN: Duration = Duration::from_secs(60);

/// The cookie's name. It goes to no path but the dashboard's, and no script can read it.
const COOKIE: &str = "bowline_session";

/// Where what proves that a page of ours asks stands: no other site's page can read the token, or set the header.
const CSRF_HEADER: &str = "x-bowline-csrf";

type Digest = [u8; 32];

#[derive(Clone, Debug)]
struct Session {
    access_key_id: String,
    csrf_token: String,
    began: Instant,
}

/// Those who have signed in, by the digest of their cookie: what is compared is no secret.
#[derive(Default)]
pub(super) struct Sessions {
    table: Mutex<HashMap<Digest, Session>>,
    failures: Mutex<VecDeque<Instant>>,
}

impl Sessions {
    /// Begins one, and gives its cookie.
    fn begin(&self, access_key_id: &str, now: Instant) -> (String, Session) {
        let cookie = URL_SAFE_NO_PAD.encode(random::bytes::<32>());
        let csrf_token = URL_SAFE_NO_PAD.encode(random::bytes::<32>());
        let session = Session { access_key_id: access_key_id.to_owned(), csrf_token, began: now };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, session| now.saturating_duration_since(session.began) < LASTS);
        if table.len() >= SESSIONS_MAX {
            let oldest = table.iter().min_by_key(|(_, session)| session.began).map(|(digest, _)| *digest);
            oldest.map(|oldest| table.remove(&oldest));
        }
        table.insert(digest_of(&cookie), session.clone());
        (cookie, session)
    }

    fn find(&self, cookie: &str, now: Instant) -> Option<Session> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let session = table.get(&digest_of(cookie))?;
        (now.saturating_duration_since(session.began) < LASTS).then(|| session.clone())
    }

    fn end(&self, cookie: &str) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest_of(cookie));
    }

    /// Takes a place for one more try, or tells in how many seconds there is one. A try that does not fail gives
    /// it back: tries at the same time count all the same.
    fn try_one(&self, now: Instant) -> Result<(), u64> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        while failures.front().is_some_and(|at| now.saturating_duration_since(*at) >= FAILURES_WITHIN) {
            failures.pop_front();
        }
        match failures.front() {
            Some(oldest) if failures.len() >= FAILURES_MAX => {
                let left = FAILURES_WITHIN.saturating_sub(now.saturating_duration_since(*oldest));
                Err(left.as_secs().max(1))
            }
            _ => {
                failures.push_back(now);
                Ok(())
            }
        }
    }

    fn succeeded(&self) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).pop_back();
    }
}

fn digest_of(cookie: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, cookie.as_bytes()).as_ref());
    bytes
}

/// What is sent to sign in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SignIn {
    access_key_id: String,
    secret_access_key: String,
}

impl Request<'_> {
    /// The session's cookie.
    fn cookie(&self) -> Option<&str> {
        let cookies = self.parts.headers.get_all(header::COOKIE).iter();
        let pairs = cookies.filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(';'));
        pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == COOKIE)
            .map(|(_, it)| it)
    }

    /// The session, and who it is now: a key that is gone or inactive is nobody's.
    fn signed_in(&self) -> Option<(Session, Caller)> {
        let session = self.dashboard.sessions.find(self.cookie()?, Instant::now())?;
        let core = &self.api.core;
        let (registry, id) = (core.registry(), &session.access_key_id);
        let caller = self.api.authentication.by_id(&registry, core.credentials(), id)?;
        Some((session, caller))
    }

    /// Who asks for a change: one who has signed in, by a page of ours.
    ///
    /// # Errors
    /// 401 to who has not, 403 to what another page may have sent.
    pub(super) fn who_changes(&self) -> Result<Caller, Refusal> {
        let (session, caller) = self.signed_in().ok_or_else(|| {
            Refusal::new(StatusCode::UNAUTHORIZED, "NotSignedIn", "Sign in first: the session has ended.")
        })?;
        let shown = self.parts.headers.get(CSRF_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        constant_time::verify_slices_are_equal(session.csrf_token.as_bytes(), shown).map_err(|_| {
            Refusal::new(StatusCode::FORBIDDEN, "InvalidCsrfToken", "The page is out of date: load it again.")
        })?;
        Ok(caller)
    }

    /// Who looks.
    pub(super) fn session(&self) -> Value {
        self.signed_in().map_or(json!({"signedIn": false}), |(session, caller)| told(&session, &caller))
    }

    /// Signs in: one line in the audit trail, whether it succeeds or not.
    ///
    /// # Errors
    /// 401 where the secret is not the key's, 429 after too many of these.
    pub(super) async fn sign_in(&self, body: &[u8]) -> Result<Response<Body>, Refusal> {
        let is_json = self.parts.headers.get(header::CONTENT_TYPE);
        let is_json = is_json.is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        let given: SignIn = match serde_json::from_slice(body) {
            Ok(given) if is_json => given,
            _ => {
                let text = "accessKeyId and secretAccessKey are needed, as JSON.";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidRequest", text));
            }
        };
        let secret = Zeroizing::new(given.secret_access_key);
        let sessions = &self.dashboard.sessions;
        sessions.try_one(Instant::now()).map_err(|seconds| Refusal {
            retry_after: Some(seconds),
            ..Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Throttling",
                format!("Too many failed attempts. Try again in {seconds} s."),
            )
        })?;
        let core = &self.api.core;
        let (registry, id) = (core.registry(), given.access_key_id.trim());
        let authentication = &self.api.authentication;
        let caller = authentication.by_secret(&registry, core.credentials(), id, &secret);
        let event = recording::sign_in(
            self.peer.address,
            &self.parts.headers,
            &registry.settings().scope,
            caller.as_ref().ok_or(id),
        );
        // Nobody signs in unrecorded.
        if let Err(full) = core.audit().record(event) {
            tracing::warn!(reason = %full, "nobody can sign in to the dashboard: the trail takes no record");
            let text = "The audit trail takes no record at the moment.";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", text));
        }
        let caller = caller.ok_or_else(|| {
            let text = "The access key and the secret do not go together.";
            Refusal::new(StatusCode::UNAUTHORIZED, "InvalidClientTokenId", text)
        })?;
        sessions.succeeded();
        if let Some(before) = self.cookie() {
            sessions.end(before);
        }
        let (cookie, session) = sessions.begin(&caller.access_key_id, Instant::now());
        let mut response = written(&told(&session, &caller));
        self.set_cookie(&mut response, &cookie, LASTS);
        Ok(response)
    }

    /// Ends the session.
    pub(super) fn sign_out(&self) -> Result<Response<Body>, Refusal> {
        self.who_changes()?;
        if let Some(cookie) = self.cookie() {
            self.dashboard.sessions.end(cookie);
        }
        let mut response = written(&json!({"signedIn": false}));
        self.set_cookie(&mut response, "", Duration::ZERO);
        Ok(response)
    }

    fn set_cookie(&self, response: &mut Response<Body>, value: &str, lasts: Duration) {
        let secure = if self.peer.tls { "; Secure" } else { "" };
        let path = super::PATH;
        let seconds = lasts.as_secs();
        let text =
            format!("{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
        if let Ok(value) = HeaderValue::try_from(text) {
            response.headers_mut().insert(header::SET_COOKIE, value);
        }
    }
}

fn told(session: &Session, caller: &Caller) -> Value {
    let left = LASTS.saturating_sub(session.began.elapsed());
    json!({
        "signedIn": true,
        "arn": caller.arn,
        "accessKeyId": caller.access_key_id,
        "csrfToken": session.csrf_token,
        "endsAt": (wall_clock::now() + left).as_millis(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_and_are_bounded() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (cookie, _) = sessions.begin("A", now);
        assert!(sessions.find(&cookie, now + LASTS - Duration::from_secs(1)).is_some());
        assert!(sessions.find(&cookie, now + LASTS).is_none(), "it lasts 12 hours");
        assert!(sessions.find("another", now).is_none());
        for seconds in 1..=SESSIONS_MAX as u64 {
            sessions.begin("B", now + Duration::from_secs(seconds));
        }
        assert_eq!(sessions.table.lock().expect("whole").len(), SESSIONS_MAX);
        assert!(sessions.find(&cookie, now).is_none(), "the oldest made room");
    }

    #[test]
    fn failures_are_counted_and_forgiven() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            sessions.try_one(now).expect("there is room");
        }
        assert_eq!(sessions.try_one(now + Duration::from_secs(20)), Err(40));
        assert!(sessions.try_one(now + FAILURES_WITHIN).is_ok());
        let sessions = Sessions::default();
        for _ in 0..100 {
            sessions.try_one(now).expect("a try that succeeds counts for nothing");
            sessions.succeeded();
        }
    }
}
