//! What the scripts answer.

use std::time::Duration;

use redis::Value;

use super::failure::failure;
use crate::store::{Acquired, Adopted, Holding, Reply, StoreError};
use crate::token::FencingToken;

/// What an acquire answers that has no token to give.
const USED_UP: i64 = -3;

pub(super) fn acquired(answer: &Value) -> Result<Acquired, StoreError> {
    match answer {
        Value::Int(USED_UP) => Err(StoreError::not_applied(failure(
            "the fencing tokens of this key are used up",
        ))),
        Value::Int(left) => Ok(Acquired::Held {
            remaining: remaining(*left),
        }),
        granted => Ok(Acquired::Granted {
            token: token(granted)?,
        }),
    }
}

pub(super) fn adopted(answer: &Value) -> Result<Adopted, StoreError> {
    match answer {
        Value::Int(0) => Ok(Adopted::NotHeld),
        granted => Ok(Adopted::Adopted {
            token: token(granted)?,
        }),
    }
}

/// The script was executed, whatever is wrong with its answer.
pub(super) fn no_answer() -> StoreError {
    StoreError::unknown(failure("the answer is not one of our scripts"))
}

pub(super) fn reply(answer: &Value) -> Result<Reply, StoreError> {
    match answer {
        Value::Int(1) => Ok(Reply::Done),
        Value::Int(0) => Ok(Reply::NotHeld),
        _ => Err(no_answer()),
    }
}

/// The answers to renewals, and the server's clock in microseconds.
pub(super) fn renewed(answer: &Value) -> Result<(Vec<Reply>, i64), StoreError> {
    let Value::Array(parts) = answer else {
        return Err(no_answer());
    };
    let [seconds, micros, replies @ ..] = parts.as_slice() else {
        return Err(no_answer());
    };
    let now = clock(seconds, micros).and_then(|now| i64::try_from(now).ok());
    let replies: Result<Vec<Reply>, StoreError> = replies.iter().map(reply).collect();
    Ok((replies?, now.ok_or_else(no_answer)?))
}

/// The answer of TIME, in microseconds.
fn clock(seconds: &Value, micros: &Value) -> Option<u64> {
    number(seconds)?
        .checked_mul(1_000_000)?
        .checked_add(number(micros)?)
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

fn token(value: &Value) -> Result<FencingToken, StoreError> {
    number(value)
        .and_then(FencingToken::new)
        .ok_or_else(no_answer)
}

/// A lock whose expiry somebody took away is looked at again in a day; less than a millisecond is not nothing.
fn remaining(millis: i64) -> Duration {
    match u64::try_from(millis) {
        Ok(millis) => Duration::from_millis(millis.max(1)),
        Err(_) => Duration::from_secs(24 * 3600),
    }
}

/// What `inspect` answered: `o` and 16 bytes of the owner, or `k`, then `token:granted:holder`.
pub(super) fn holding(answer: Value) -> Result<Option<Holding>, StoreError> {
    let Value::Array(parts) = answer else {
        return Err(no_answer());
    };
    let [lock, Value::Int(left), seconds, micros] = parts.as_slice() else {
        return Err(no_answer());
    };
    let lock = match lock {
        Value::Nil => return Ok(None),
        Value::BulkString(lock) => lock.as_slice(),
        _ => return Err(no_answer()),
    };
    let text = match lock.split_first() {
        Some((b'o', rest)) => rest.get(16..),
        Some((b'k', rest)) => Some(rest),
        _ => None,
    };
    let mut parts = text
        .map(String::from_utf8_lossy)
        .unwrap_or_default()
        .into_owned();
    let holder = parts.match_indices(':').nth(1).map(|(at, _)| at);
    let holder = holder.map(|at| parts.split_off(at)).ok_or_else(no_answer)?;
    let (token, granted) = parts.split_once(':').ok_or_else(no_answer)?;
    let token = token.parse().ok().and_then(FencingToken::new);
    let granted: u64 = granted.parse().map_err(|_| no_answer())?;
    let now = clock(seconds, micros).ok_or_else(no_answer)?;
    Ok(Some(Holding::new(
        holder.get(1..).unwrap_or_default(),
        token.ok_or_else(no_answer)?,
        remaining(*left),
        Duration::from_micros(now.saturating_sub(granted)),
    )))
}

pub(super) fn scanned(answer: Value) -> Result<(Vec<u8>, Vec<Vec<u8>>), StoreError> {
    let Value::Array(parts) = answer else {
        return Err(no_answer());
    };
    match <[Value; 2]>::try_from(parts) {
        Ok([Value::BulkString(cursor), Value::Array(names)]) => {
            let names = names.into_iter().filter_map(|name| match name {
                Value::BulkString(name) => Some(name),
                _ => None,
            });
            Ok((cursor, names.collect()))
        }
        _ => Err(no_answer()),
    }
}
