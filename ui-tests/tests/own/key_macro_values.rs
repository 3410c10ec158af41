// Must say for each use of `key!`: a keyword alone, what is no option here, a comma that lacks, a path for `crate`, a
// placeholder that is none, `crate` twice.
use verrou::key;

fn main() {
    let _ = key!("t:<type>", type);
    let _ = key!("t", ttl = "1s");
    let _ = key!("t:<a>" a = 1);
    let _ = key!("t:<a>", a = 1, crate = "verrou");
    let _ = key!("t:<a.len()>", a = "x");
    let _ = key!("");
    let _ = key!("t:<self.id>");
    let _ = key!("t:<a>", a = 1, crate = verrou, crate = ::verrou);
}
