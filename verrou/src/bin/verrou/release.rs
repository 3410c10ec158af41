//! `verrou release`: frees a key whoever holds it.

use crate::args::{Release, Target};
use crate::exit::{Code, Failure};
use crate::output::{named, one_line, print};
use crate::place::{IfMissing, Place};

pub(crate) async fn release(target: &Target, options: &Release) -> Result<Code, Failure> {
    if !options.force {
        return Err(Failure::usage(
            "a release by somebody else than the holder needs `--force`: first make sure that the holder is dead, \
             `verrou inspect KEY` says who it is",
        ));
    }
    let place = Place::connect(target, IfMissing::Fail).await?;
    let locks = place.locks(target)?;
    let lock = locks.create_lock(&options.key);
    let holder = lock.inspect().await?;
    let freed = lock.force_release().await?;
    let key = one_line(&options.key);
    print(&match (freed, holder) {
        (true, Some(holder)) => format!(
            "`{key}` is free; it was held by {} with token {}\n",
            named(&holder),
            holder.token
        ),
        (true, None) => format!("`{key}` is free; somebody had just taken it\n"),
        (false, _) => format!("`{key}` was free\n"),
    })?;
    let _ = locks.close().await;
    Ok(Code::DONE)
}
