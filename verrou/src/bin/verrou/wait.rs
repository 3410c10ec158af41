//! `verrou wait`: until nobody holds a key.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use verrou::Wait;

use crate::args::{Target, WaitFor};
use crate::exit::{Code, Failure};
use crate::output::{named, one_line, time};
use crate::place::{IfMissing, Place};

/// It takes nothing, so it gets no hint either, and looks.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) async fn wait(target: &Target, options: &WaitFor) -> Result<Code, Failure> {
    let place = Place::connect(target, IfMissing::Fail).await?;
    let locks = place.locks(target)?;
    let lock = locks.create_lock(&options.key);
    let begun = Instant::now();
    let end = match options.wait {
        Wait::For(time) => begun.checked_add(time),
        Wait::Never => Some(begun),
        _ => None,
    };
    while let Some(holder) = lock.inspect().await? {
        let next = Instant::now() + PAUSE;
        if end.is_some_and(|end| end <= Instant::now()) {
            return Err(Failure::new(
                Code::BUSY,
                format!(
                    "`{}` is still held after {}, by {}, since {}",
                    one_line(&options.key),
                    time(begun.elapsed()),
                    named(&holder),
                    humantime::format_rfc3339_seconds(holder.since),
                ),
            ));
        }
        sleep_until(end.map_or(next, |end| next.min(end))).await;
    }
    let _ = locks.close().await;
    Ok(Code::DONE)
}
