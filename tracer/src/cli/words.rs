//! The words of the command line for values of modules that know nothing of it.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::profile::Grouping;
use crate::profile::machine::{By, Of, Order as RowOrder};
use crate::sources::address_space::SpaceOrder;
use crate::sources::heap::Order;
use crate::sources::heap::reach::When;
use crate::sources::kernel::KernelOrder;

/// Gives each variant its word and its help.
macro_rules! words {
    ($type:ty { $($variant:ident $word:literal $help:literal)* }) => {
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                &[$(Self::$variant),*]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(match self {
                    $(Self::$variant => PossibleValue::new($word).help($help),)*
                })
            }
        }
    };
}

words!(Grouping {
    Process "process" "Each process"
    Container "container" "Each container; outside of containers, each systemd unit or cgroup"
    User "user" "Each user"
    Stack "stack" "Each stack, over all processes that have it"
});

words!(Order {
    Verdict "verdict" "Leaks first, then what grows fastest, what is lost, and what holds most"
    Bytes "bytes" "Most live bytes first"
    Count "count" "Most live blocks first"
    Growth "growth" "Most bytes gained since the last report first"
    Age "age" "Oldest live block first"
});

words!(KernelOrder {
    Bytes "bytes" "Most live bytes first"
    Count "count" "Most live blocks first"
    Growth "growth" "Most bytes gained since the last report first"
    Age "age" "Oldest live block first"
});

words!(When {
    Last "last" "For the last report"
    Every "every" "For every report"
    Off "off" "Never"
});

words!(SpaceOrder {
    Resident "resident" "Most bytes in memory or in swap first"
    Mapped "mapped" "Most bytes mapped first"
    Ranges "ranges" "Most ranges first"
    Growth "growth" "Most bytes mapped since the last report first"
    Age "age" "Oldest range first"
});

words!(By {
    Process "process" "Each process"
    Name "name" "All processes of one name"
    Container "container" "All processes of one container; outside of containers, of one systemd unit or cgroup"
    User "user" "All processes of one user"
});

words!(RowOrder {
    Growth "growth" "Largest significant growth first, then the largest"
    Size "size" "Largest first"
});

words!(Of {
    Total "total" "Resident and swapped memory together: it does not shrink when the kernel swaps pages out"
    Rss "rss" "Resident memory"
    Pss "pss" "Proportional set size: shared pages divided by their users; slower to read"
    Anonymous "anonymous" "Resident anonymous memory"
    Swap "swap" "Swapped memory"
    Virtual "virtual" "Address space, touched or not"
});
