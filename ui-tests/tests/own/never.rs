// Must point at `!`, also through a macro.
use verrou::locked;

#[locked("t")]
async fn f() -> ! {
    std::process::exit(0)
}

macro_rules! returning {
    ($name:ident, $ret:ty) => {
        #[locked("t")]
        async fn $name() -> $ret {
            std::process::exit(0)
        }
    };
}

returning!(by_macro, !);

fn main() {}
