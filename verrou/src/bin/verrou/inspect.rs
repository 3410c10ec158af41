//! `verrou inspect`: who holds a key.

use serde_json::json;

use crate::args::{Inspect, Target};
use crate::exit::{Code, Failure};
use crate::output::{self, held_for, named, one_line, time};
use crate::place::{IfMissing, Place};

pub(crate) async fn inspect(target: &Target, options: &Inspect) -> Result<Code, Failure> {
    let place = Place::connect(target, IfMissing::Fail).await?;
    let locks = place.locks(target)?;
    let key = &options.key;
    let holder = locks.create_lock(key).inspect().await?;
    if options.json {
        let entry = match holder {
            Some(holder) => {
                let mut entry = output::entry(key, &holder);
                entry["held"] = true.into();
                entry
            }
            None => json!({ "key": key, "held": false }),
        };
        output::print_json(&entry, false)?;
    } else {
        output::print(&match holder {
            Some(holder) => format!(
                "`{}` is held\n  holder  {}\n  token   {}\n  since   {} ({} ago)\n  left    {}, unless it is renewed\n",
                one_line(key),
                named(&holder),
                holder.token,
                humantime::format_rfc3339_seconds(holder.since),
                time(held_for(&holder)),
                time(holder.remaining),
            ),
            None => format!("`{}` is free\n", one_line(key)),
        })?;
    }
    let _ = locks.close().await;
    Ok(Code::DONE)
}
