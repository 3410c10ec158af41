use std::sync::atomic::AtomicBool;

use tokio::sync::Semaphore;

use super::*;
use crate::error::Error;
use crate::store::Owner;
use crate::token::FencingToken;

/// Whether it was one for several, and the keys in it.
type Statement = (bool, Vec<String>);

/// Notes each statement, and answers it when it is let go.
#[derive(Clone)]
struct Noted {
    statements: Arc<Mutex<Vec<Statement>>>,
    alone: Arc<Semaphore>,
    together: Arc<Semaphore>,
    fails: Arc<AtomicBool>,
}

impl Noted {
    /// Statements hang until permits are added.
    fn new() -> Self {
        Self {
            statements: Arc::default(),
            alone: Arc::new(Semaphore::new(0)),
            together: Arc::new(Semaphore::new(0)),
            fails: Arc::default(),
        }
    }

    fn let_all_go(&self) {
        self.alone.add_permits(1000);
        self.together.add_permits(1000);
    }

    fn note(&self, together: bool, errands: &[Errand]) {
        let keys = errands
            .iter()
            .map(|errand| errand.key().key().to_owned())
            .collect();
        self.statements().push((together, keys));
    }

    fn statements(&self) -> MutexGuard<'_, Vec<Statement>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(errand: &Errand) -> Answer {
    match errand {
        Errand::Acquire(_) => Answer::Acquired(Acquired::Granted {
            token: FencingToken::MAX,
        }),
        Errand::Release(_) => Answer::Released(Reply::NotHeld),
    }
}

async fn pass(gate: &Semaphore) {
    if let Ok(permit) = gate.acquire().await {
        permit.forget();
    }
}

impl Carrier for Noted {
    type Link = ();

    async fn alone(&self, errand: Errand) -> Result<Answer, StoreError> {
        self.note(false, std::slice::from_ref(&errand));
        pass(&self.alone).await;
        Ok(answer(&errand))
    }

    async fn link(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn carry(&self, (): (), errands: &[Errand]) -> Result<Answers, StoreError> {
        self.note(true, errands);
        pass(&self.together).await;
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::unknown("it failed"));
        }
        Ok(errands.iter().map(answer).map(Ok).collect())
    }
}

fn request(key: &str) -> Result<AcquireRequest, Error> {
    let key = StoredKey::new("", key)?;
    let mut request = AcquireRequest::new(key, Owner::from_bytes([1; 16]), STALE);
    request.sent = Sent::tracked();
    Ok(request)
}

type Asked = tokio::task::JoinHandle<Result<Acquired, StoreError>>;

fn ask(group: &Group, noted: &Noted, request: AcquireRequest) -> Asked {
    let (group, noted) = (group.clone(), noted.clone());
    tokio::spawn(async move { group.acquire(&noted, request).await })
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn granted(asked: Vec<Asked>) {
    for asked in asked {
        assert!(matches!(asked.await, Ok(Ok(Acquired::Granted { .. }))));
    }
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}

#[tokio::test]
async fn a_request_without_company_goes_alone_and_at_once() -> Result<(), Error> {
    let (group, noted) = (Group::new(2), Noted::new());
    noted.let_all_go();
    for _ in 0..3 {
        granted(vec![ask(&group, &noted, request("a")?)]).await;
    }
    assert!(noted.statements().iter().all(|(together, _)| !together));
    assert!(group.stations().is_empty(), "nothing is left behind");
    Ok(())
}

#[tokio::test]
async fn requests_of_one_moment_go_together_in_the_order_of_their_keys() -> Result<(), Error> {
    let (group, noted) = (Group::new(1), Noted::new());
    let mut asked = vec![ask(&group, &noted, request("first")?)];
    settle().await;
    for key in ["c", "a", "b", "a"] {
        asked.push(ask(&group, &noted, request(key)?));
    }
    settle().await;
    assert_eq!(
        *noted.statements(),
        [(false, keys(&["first"])), (true, keys(&["a", "b", "c"]))],
        "a key is in a statement only once"
    );
    noted.let_all_go();
    granted(asked).await;
    assert_eq!(noted.statements().last(), Some(&(true, keys(&["a"]))));
    settle().await;
    assert!(group.stations().is_empty(), "nothing is left behind");
    Ok(())
}

#[tokio::test]
async fn a_request_that_is_kept_and_not_polled_stops_no_other() -> Result<(), Error> {
    let (group, noted) = (Group::new(2), Noted::new());
    let mut kept = Box::pin(group.acquire(&noted, request("kept")?));
    let polled = std::future::poll_fn(|cx| Poll::Ready(kept.as_mut().poll(cx).is_pending()));
    assert!(polled.await, "it is under way");
    noted.together.add_permits(1000);
    for _ in 0..3 {
        granted(vec![ask(&group, &noted, request("other")?)]).await;
    }
    drop(kept);
    settle().await;
    assert!(group.stations().is_empty(), "nothing is left behind");
    Ok(())
}

#[tokio::test]
async fn no_more_statements_are_under_way_than_there_are_runners() -> Result<(), Error> {
    let (group, noted) = (Group::new(2), Noted::new());
    let mut asked = Vec::new();
    for number in 0..10 {
        asked.push(ask(&group, &noted, request(&number.to_string())?));
        settle().await;
    }
    assert_eq!(noted.statements().len(), 3, "one alone, and two in company");
    noted.let_all_go();
    granted(asked).await;
    Ok(())
}

#[tokio::test]
async fn a_statement_that_failed_is_no_answer_and_each_goes_again() -> Result<(), Error> {
    let (group, noted) = (Group::new(1), Noted::new());
    noted.fails.store(true, Ordering::Relaxed);
    let mut asked = vec![ask(&group, &noted, request("first")?)];
    settle().await;
    for key in ["a", "b"] {
        asked.push(ask(&group, &noted, request(key)?));
    }
    let release = ReleaseRequest::new(StoredKey::new("", "c")?, Owner::from_bytes([1; 16]));
    let releasing = {
        let (group, noted) = (group.clone(), noted.clone());
        tokio::spawn(async move { group.release(&noted, release).await })
    };
    settle().await;
    noted.let_all_go();
    granted(asked).await;
    assert!(
        matches!(releasing.await, Ok(Ok(Reply::Done))),
        "what is not held after a statement of unknown outcome was released by it"
    );
    assert_eq!(noted.statements()[1], (true, keys(&["a", "b", "c"])));
    let mut again: Vec<_> = noted.statements()[2..].to_vec();
    again.sort();
    assert_eq!(
        again,
        ["a", "b", "c"].map(|key| (false, keys(&[key]))),
        "each goes again, alone"
    );
    Ok(())
}

#[tokio::test]
async fn a_request_whose_caller_left_before_it_went_out_does_not_go_out() -> Result<(), Error> {
    let (group, noted) = (Group::new(1), Noted::new());
    let first = ask(&group, &noted, request("first")?);
    settle().await;
    let busy = ask(&group, &noted, request("busy")?);
    settle().await;
    let (leaves, stays) = (request("leaves")?, ask(&group, &noted, request("stays")?));
    let sent = leaves.sent.clone();
    let left = ask(&group, &noted, leaves);
    settle().await;
    assert!(sent.withdraw(), "it has not gone out yet");
    left.abort();
    noted.let_all_go();
    granted(vec![first, busy, stays]).await;
    assert_eq!(noted.statements().last(), Some(&(true, keys(&["stays"]))));
    Ok(())
}

#[tokio::test]
async fn a_statement_ends_when_all_have_left() -> Result<(), Error> {
    let (group, noted) = (Group::new(1), Noted::new());
    let first = ask(&group, &noted, request("first")?);
    settle().await;
    let left = [
        ask(&group, &noted, request("a")?),
        ask(&group, &noted, request("b")?),
    ];
    settle().await;
    assert_eq!(noted.statements().len(), 2);
    for left in left {
        left.abort();
    }
    first.abort();
    settle().await;
    assert!(group.stations().is_empty(), "nothing is under way any more");
    Ok(())
}

#[test]
fn a_runtime_that_ends_takes_its_requests_along_and_no_others() -> Result<(), Error> {
    let (group, noted) = (Group::new(1), Noted::new());
    let runtime = || tokio::runtime::Builder::new_current_thread().build();
    let (Ok(dying), Ok(other)) = (runtime(), runtime()) else {
        panic!("a runtime can be made");
    };
    let mut asked = Box::pin({
        let request = request("queued")?;
        let (group, noted) = (group.clone(), noted.clone());
        async move { group.acquire(&noted, request).await }
    });
    dying.block_on(async {
        let _first = ask(&group, &noted, request("first")?);
        settle().await;
        std::future::poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_pending())).await;
        settle().await;
        Ok::<_, Error>(())
    })?;
    drop(dying);
    let answer = other.block_on(asked);
    assert!(
        answer.is_err_and(|error| error.outcome() == Outcome::Unknown),
        "who waited for the runtime that ended hears of it"
    );
    noted.let_all_go();
    other.block_on(async {
        granted(vec![ask(&group, &noted, request("b")?)]).await;
        Ok(())
    })
}
