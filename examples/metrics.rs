//! What Prometheus sees of the locks of a service: all metrics of verrou at a port, while some work goes on.
//!
//! ```text
//! cargo run -p examples --example metrics
//! curl http://127.0.0.1:PORT/metrics
//! ```
//!
//! What they mean, and which alert each is good for: the page `verrou::docs::observing`.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;
use verrou::{Error, Verrou, drivers::SqliteStore, locked};

/// The template is the label; the order is not, however many there are.
#[locked("order:<id>", wait = "20ms")]
async fn ship(id: u64) -> Result<(), Error> {
    tokio::time::sleep(Duration::from_millis(2)).await;
    Ok(())
}

/// Some locks that are free, some that are busy, some that nobody gives back, and one in ten that its holder keeps too long.
async fn work(verrou: &Verrou) -> Result<(), Error> {
    for round in 0.. {
        let (one, other) = tokio::join!(ship(round), ship(round));
        one.and(other)?;
        let kept = verrou.create_lock("kept").label("kept");
        if round % 10 == 0 {
            let kept = kept.ttl(Duration::from_millis(20)).renew(false);
            let guard = kept.acquire().await?;
            guard.lost().await;
            drop(guard);
        } else {
            let _dropped = kept.acquire().await?;
            assert!(kept.try_acquire().await?.is_none());
        }
        // Long enough, with this ttl, for a renewal.
        let renewed = verrou.create_lock("long").label("long");
        let renewed = renewed.ttl(Duration::from_millis(90));
        renewed
            .run(async |_guard| tokio::time::sleep(Duration::from_millis(60)).await)
            .await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Before the first lock: what happens without a recorder is not counted.
    let buckets = [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0];
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &buckets)?
        .install_recorder()?;

    let file = std::env::temp_dir().join(format!("verrou-metrics-{}.db", std::process::id()));
    let locks = format!("sqlite:{}", file.display());
    let verrou = Verrou::builder()
        .store("locks", SqliteStore::connect(&locks).await?)
        .build()?;
    verrou::init(verrou.clone())?;
    let working = tokio::spawn(async move { work(&verrou).await });

    let page = Router::new().route(
        "/metrics",
        get(move || {
            let recorder = recorder.clone();
            async move { recorder.render() }
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}/metrics", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, page) => served?,
        worked = working => worked??,
    }
    Ok(())
}
