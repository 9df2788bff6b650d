//! Upstream answers, kept for as long as they say.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::upstream_answer::{Question, UpstreamAnswer};

/// Most answers kept.
const ENTRIES_MAX: usize = 10_000;
/// Longest that one is kept, whatever it says.
const TTL_MAX: Duration = Duration::from_secs(3_600);
/// Most records in an answer that is kept: with the limit of entries it bounds
/// the memory.
const RECORDS_MAX: usize = 32;
/// How often a full cache may be searched for what has expired.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Cache {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    entries: HashMap<Question, Entry>,
    swept: Instant,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<UpstreamAnswer>,
    stored: Instant,
    expires: Instant,
}

impl Cache {
    pub(crate) fn new(now: Instant) -> Self {
        Self { table: Mutex::new(Table { entries: HashMap::new(), swept: now }) }
    }

    /// The answer and for how many seconds it has been kept.
    pub(crate) fn get(&self, question: &Question, now: Instant) -> Option<(Arc<UpstreamAnswer>, u32)> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = table.entries.get(question).filter(|entry| now < entry.expires)?;
        let age = now.saturating_duration_since(entry.stored).as_secs();
        Some((Arc::clone(&entry.answer), u32::try_from(age).unwrap_or(u32::MAX)))
    }

    pub(crate) fn put(&self, question: &Question, answer: &Arc<UpstreamAnswer>, now: Instant) {
        let ttl = Duration::from_secs(answer.ttl().unwrap_or(0).into()).min(TTL_MAX);
        if ttl.is_zero() || answer.len() > RECORDS_MAX {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.entries.len() >= ENTRIES_MAX && now.saturating_duration_since(table.swept) >= SWEEP_INTERVAL
        {
            table.swept = now;
            table.entries.retain(|_, entry| now < entry.expires);
        }
        if table.entries.len() >= ENTRIES_MAX
            && !table.entries.contains_key(question)
            && let Some(some) = table.entries.keys().next().cloned()
        {
            table.entries.remove(&some);
        }
        let entry = Entry { answer: Arc::clone(answer), stored: now, expires: now + ttl };
        table.entries.insert(question.clone(), entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::{
        op::ResponseCode,
        rr::{Name, RData, Record, RecordType, rdata::A},
    };

    fn question(number: usize) -> Question {
        Question { name: Name::from_ascii(format!("n{number}.example.")).unwrap(), kind: RecordType::A }
    }

    fn answer(ttl: u32, count: usize) -> Arc<UpstreamAnswer> {
        let record = Record::from_rdata(question(0).name, ttl, RData::A(A::new(10, 0, 0, 1)));
        Arc::new(UpstreamAnswer { code: ResponseCode::NoError, answers: vec![record; count], soa: None })
    }

    #[test]
    fn an_answer_is_kept_for_its_ttl_and_no_more_than_an_hour() {
        let start = Instant::now();
        let cache = Cache::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        cache.put(&question(1), &answer(60, 1), start);
        cache.put(&question(2), &answer(86_400, 1), start);
        cache.put(&question(3), &answer(0, 1), start);
        cache.put(&question(4), &answer(60, RECORDS_MAX + 1), start);
        assert_eq!(cache.get(&question(1), after(59)).unwrap().1, 59);
        assert!(cache.get(&question(1), after(60)).is_none());
        assert!(cache.get(&question(2), after(3_599)).is_some());
        assert!(cache.get(&question(2), after(3_600)).is_none());
        assert!(cache.get(&question(3), start).is_none() && cache.get(&question(4), start).is_none());
    }

    #[test]
    fn it_stays_bounded() {
        let start = Instant::now();
        let cache = Cache::new(start);
        for number in 0..ENTRIES_MAX + 50 {
            cache.put(&question(number), &answer(60, 1), start);
        }
        assert_eq!(cache.table.lock().unwrap().entries.len(), ENTRIES_MAX);
        assert!(cache.get(&question(ENTRIES_MAX + 49), start).is_some());
        let later = start + Duration::from_secs(61);
        cache.put(&question(0), &answer(60, 1), later);
        assert_eq!(cache.table.lock().unwrap().entries.len(), 1, "what expired made room");
    }
}
