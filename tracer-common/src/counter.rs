//! Loss counters as data: what the counters of every kind of trace have in common, and the macro that defines them.

/// The loss counters of one kind of trace.
pub trait Counter: Copy + Eq + 'static {
    /// All counters, in index order.
    const ALL: &'static [Self];

    /// Stable name, as in the JSON report.
    fn name(self) -> &'static str;

    /// Whether a count here means that the totals of a report are not exact.
    fn affects_totals(self) -> bool;
}

/// Defines an enum of loss counters: each with its description, its stable name, and whether it affects the totals.
macro_rules! counters {
    (
        $(#[$about:meta])*
        pub enum $counters:ident {
            $(
                $(#[$description:meta])*
                $counter:ident($name:literal, affects_totals = $affects_totals:literal),
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $counters {
            $($(#[$description])* $counter,)*
        }

        impl $counters {
            /// All counters, in index order.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$counter),*];

            /// Number of counters.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// Stable name, as in the JSON report.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$counter => $name,)*
                }
            }

            /// The counter of this name; `None` if there is none.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|counter| counter.name() == name)
            }

            /// Whether a count here means that the totals of a report are not exact.
            pub const fn affects_totals(self) -> bool {
                match self {
                    $(Self::$counter => $affects_totals,)*
                }
            }
        }

        impl $crate::counter::Counter for $counters {
            const ALL: &'static [Self] = &Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }

            fn affects_totals(self) -> bool {
                self.affects_totals()
            }
        }
    };
}

pub(crate) use counters;

#[cfg(test)]
mod tests {
    use crate::kernel_memory::KernelLoss;
    use crate::loss::Loss;

    /// Names are unique: each leads back to its counter.
    #[test]
    fn counters_are_found_by_their_names() {
        for counter in Loss::ALL {
            assert_eq!(Loss::from_name(counter.name()), Some(counter));
        }
        for counter in KernelLoss::ALL {
            assert_eq!(KernelLoss::from_name(counter.name()), Some(counter));
        }
        assert_eq!(Loss::from_name("nothing"), None);
    }
}
