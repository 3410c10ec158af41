// Must say for each use of `key!` what is missing, misspelt, unused, given twice or wrong in the template.
use verrou::key;

fn main() {
    let _ = key!("t:<a>");
    let _ = key!("t:<form>", from = 1);
    let _ = key!("t:<a>", a = 1, b = 2);
    let _ = key!("t:<a>", a = 1, a = 2);
    let _ = key!("t:<a><b>", a = 1, b = 2);
    let _ = key!(KEY);
    let _ = key!();
}
