//! `verrou purge`: rows that nobody needs any more.

use crate::args::{Purge, Target};
use crate::exit::{Code, Failure};
use crate::output::{print, time};
use crate::place::{IfMissing, Place};

pub(crate) async fn purge(target: &Target, options: &Purge) -> Result<Code, Failure> {
    let place = Place::connect(target, IfMissing::Fail).await?;
    let purged = match &place {
        Place::Redis(_) => {
            print("nothing to purge: Redis forgets free keys by itself\n")?;
            return Ok(Code::DONE);
        }
        Place::Postgres(store) => store.purge(options.idle).await,
        Place::MySql(store) => store.purge(options.idle).await,
        Place::Sqlite(store) => store.purge(options.idle).await,
    };
    let purged = purged.map_err(|error| {
        let cause = error.cause();
        Failure::new(
            Code::STORE,
            format!("the purge has failed: {cause}; what it has removed until then was idle, and it may be begun again"),
        )
    })?;
    let idle = time(options.idle);
    print(&format!(
        "removed {purged} keys that were not used for {idle}\n"
    ))?;
    Ok(Code::DONE)
}
