//! The process table: who is traced, and how; rows of processes that have ended are used again.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use aya::maps::{HashMap, MapData, MapError, Queue};
use tracer_common::config::Process;
use tracer_common::key::{Owner, StackKey, StackTotals};
use tracer_common::lifetime::{Lifetimes, OldFrees};
use tracer_common::limits;
use tracer_common::sampling;

use super::batch::HashTable;
use super::error::LoadError;
use super::load::Tracer;
use super::object::map_mut;

impl Tracer {
    /// Adds a process to the trace and returns its owner id.
    ///
    /// # Errors
    /// [`LoadError::TooManyProcesses`] if the table has no free row.
    pub fn add_process(&mut self, tgid: u32) -> Result<Owner, LoadError> {
        self.register(tgid, 1).map(|(_, owner)| owner)
    }

    /// Keeps a process out of a trace that admits processes by itself; its row.
    ///
    /// # Errors
    /// As for [`Self::add_process`].
    pub fn exclude_process(&mut self, tgid: u32) -> Result<u32, LoadError> {
        self.register(tgid, 0).map(|(row, _)| row)
    }

    /// Gives a process a row. One that was admitted just before keeps the row that it has.
    fn register(&mut self, tgid: u32, active: u32) -> Result<(u32, Owner), LoadError> {
        if let Some((row, process)) = self.known(tgid) {
            self.set_active(row, active != 0);
            return Ok((row, process.owner));
        }
        let row = self.free_process()?;
        let owner = Owner {
            tgid,
            image: self.draw_image(),
        };
        self.processes.write(
            row as usize,
            Process {
                owner,
                code: owner.image,
                generation: owner.image,
                active,
                ..Process::default()
            },
        );
        fence(Ordering::SeqCst);
        const NOEXIST: u64 = 1;
        let inserted = self.slots()?.insert(tgid, row, NOEXIST);
        if inserted.is_ok() {
            return Ok((row, owner));
        }
        self.give_back(row)?;
        // Its first call came in between.
        match self.known(tgid) {
            Some((row, process)) => {
                self.set_active(row, active != 0);
                Ok((row, process.owner))
            }
            None => Err(LoadError::TooManyProcesses),
        }
    }

    fn known(&mut self, tgid: u32) -> Option<(u32, Process)> {
        let row = self.row_of(tgid)?;
        let process = self.processes.read(row as usize)?;
        (process.owner.tgid == tgid).then_some((row, process))
    }

    /// A row that nobody has: one that was released, or a new one.
    fn free_process(&mut self) -> Result<u32, LoadError> {
        match self.free_processes()?.pop(0) {
            Ok(row) => return Ok(row),
            Err(MapError::ElementNotFound) => {}
            Err(error) => return Err(error.into()),
        }
        let state = self.state.pointer(0).ok_or(LoadError::TooManyProcesses)?;
        // SAFETY: a mapped, aligned counter that the programs add to atomically as well.
        let next = unsafe { AtomicU32::from_ptr(&raw mut (*state).next_process) };
        if next.load(Ordering::Relaxed) >= limits::MAX_PROCESSES {
            return Err(LoadError::TooManyProcesses);
        }
        let row = next.fetch_add(1, Ordering::Relaxed);
        if row >= limits::MAX_PROCESSES {
            return Err(LoadError::TooManyProcesses);
        }
        Ok(row)
    }

    /// Clears a row and lets others have it.
    fn give_back(&mut self, row: u32) -> Result<(), LoadError> {
        self.processes.write(row as usize, Process::default());
        fence(Ordering::SeqCst);
        Ok(self.free_processes()?.push(row, 0)?)
    }

    fn slots(&mut self) -> Result<HashMap<&mut MapData, u32, u32>, LoadError> {
        map_mut(&mut self.ebpf, "PROCESS_SLOTS")
    }

    fn free_processes(&mut self) -> Result<Queue<&mut MapData, u32>, LoadError> {
        map_mut(&mut self.ebpf, "FREE_PROCESSES")
    }

    /// Row of a process, or of the process in whose memory it runs; `None` if it is not in the table.
    pub fn row_of(&mut self, tgid: u32) -> Option<u32> {
        self.slots().ok()?.get(&tgid, 0).ok()
    }

    /// Whether a process still runs this program, as far as the kernel side knows.
    pub fn is_present(&mut self, owner: Owner) -> bool {
        let process = self
            .row_of(owner.tgid)
            .and_then(|row| self.processes.read(row as usize));
        process.is_some_and(|process| process.owner == owner)
    }

    /// Rows of the process table in use, with what they hold now. A row whose process has ended stays until it is
    /// released; its `active` is 0.
    ///
    /// A row that no event has told of may be one that is being given back this moment: it counts only if
    /// [`Self::row_of`] leads to it.
    pub fn process_rows(&self) -> impl Iterator<Item = (u32, Process)> {
        let used = self.state.read(0).map_or(0, |state| state.next_process);
        (0..used.min(limits::MAX_PROCESSES))
            .filter_map(|row| Some((row, self.processes.read(row as usize)?)))
            .filter(|(_, process)| process.owner.tgid != 0)
    }

    /// Releases the row of a process that has ended, and its part of the mappings. Its figures must have been read and
    /// its blocks removed from the live map; the rows of its stacks are released by [`Self::release_stack_rows`].
    ///
    /// # Errors
    /// [`LoadError::Refused`] if the kernel's table cannot be written.
    pub fn release_process(&mut self, row: u32) -> Result<(), LoadError> {
        self.leaving.push(row);
        for row in std::mem::take(&mut self.leaving) {
            let Some(process) = self.processes.read(row as usize) else {
                continue;
            };
            // A process that runs in its memory still has its row, which must not become another's.
            if process.guests != 0 {
                self.leaving.push(row);
                continue;
            }
            if self.row_of(process.owner.tgid) == Some(row) {
                // It is gone already where the exit program has seen the end.
                let _ = self.slots()?.remove(&process.owner.tgid);
            }
            self.tables.release(row);
            self.rows.totals.write(row as usize, StackTotals::default());
            self.rows
                .lifetimes
                .write(row as usize, Lifetimes::default());
            self.old_frees.write(row as usize, OldFrees::default());
            self.give_back(row)?;
        }
        Ok(())
    }

    /// Releases rows of stacks of programs that are over and whose blocks were removed from the live map. Rows without
    /// a stack are passed over.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the kernel's table of stacks cannot be written.
    pub fn release_stack_rows(&mut self, rows: &[u32]) -> Result<(), LoadError> {
        let keys: Vec<_> = rows.iter().filter_map(|row| self.rows.key(*row)).collect();
        HashTable::<StackKey, u32>::new(self.map("STACK_ROWS")?)
            .and_then(|table| table.remove(&keys))
            .map_err(|source| LoadError::Map {
                map: "STACK_ROWS",
                source,
            })?;
        for row in rows.iter().rev() {
            self.rows.release(*row);
        }
        Ok(())
    }

    /// Lets a process be traced, or no longer. What it releases while it is not traced is missed: its blocks are to be
    /// dropped then.
    pub fn set_active(&self, row: u32, active: bool) {
        if let Some(process) = self.processes.pointer(row as usize) {
            // SAFETY: a mapped, aligned u32; the programs clear it when the process ends.
            unsafe { (&raw mut (*process).active).write_volatile(u32::from(active)) };
        }
    }

    /// Gives the program in a row that is not traced at the moment a new owner id, as which it can begin anew; and the
    /// denser sample that was asked for.
    pub fn renew(&mut self, row: u32) -> Option<Owner> {
        let image = self.draw_image();
        self.old_frees.write(row as usize, OldFrees::default());
        let process = self.processes.pointer(row as usize)?;
        // SAFETY: a mapped, aligned record; the programs write these fields in an `exec` of the process only, and read
        // them while it is traced.
        unsafe {
            (&raw mut (*process).owner.image).write_volatile(image);
            (&raw mut (*process).code).write_volatile(image);
            (&raw mut (*process).step).write_volatile(0);
            Some((*process).owner)
        }
    }

    /// Sets the step of a process's sampling interval (see [`sampling::interval`]), in an adaptive trace.
    pub fn set_step(&self, row: u32, step: u32) {
        if let Some(process) = self.processes.pointer(row as usize) {
            let step = step.min(sampling::MAX_STEP);
            // SAFETY: a mapped, aligned u32 that only user space writes.
            unsafe { (&raw mut (*process).step).write_volatile(step) };
        }
    }

    /// What a row of the process table holds now.
    pub fn process(&self, row: u32) -> Option<Process> {
        self.processes.read(row as usize)
    }

    /// Step of a process's sampling interval.
    pub fn step(&self, row: u32) -> u32 {
        self.processes
            .read(row as usize)
            .map_or(0, |process| process.step)
    }
}
