//! A world to judge the governor in, which shares neither code nor curves with it.
//!
//! [`missions`](crate::missions) plays missions in the governor's own picture of a battery. Here the battery is a Thevenin cell with
//! curves of its own and Peukert's law, the board drifts, the gauge errs slowly and fails in many ways, the sun has
//! clouds. The governor is driven through its public interface, as the loop drives it, beside competitors that know
//! less and more than it: one period and point chosen in hindsight, SoC steps, a PI controller, and a linear program that
//! knows the future.

mod chance;
mod drawn;
mod governed;
mod meter;
mod network;
mod pack;
mod play;
mod program;
mod rivals;
mod scene;
mod situation;
mod table;

pub use meter::NoAnswer;
pub use network::Network;
pub use table::{WorldError, WorldRow, WorldTable};

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// What a file of this world takes from elsewhere, its tests apart: paths that begin with the core's or this crate's name.
    fn imports(text: &str) -> Vec<String> {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.join(" ");
        let begins = |name: &'static str| code.match_indices(name).map(move |(at, _)| at);
        let of = |at: usize| code[at..].split(';').next().unwrap_or_default().split_whitespace().collect::<String>();
        begins("dyn_perceiver_core::").chain(begins("crate::")).map(of).collect()
    }

    /// Cell, board, sky, gauge errors and the program that knows the future are this world's own. What it takes from the core is
    /// the governor as a user has it, the forms in which a gauge answers, and the network's points with what they cost.
    #[test]
    fn world_is_other_code_than_the_governor() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/world");
        let mut files = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let imports = imports(&std::fs::read_to_string(&path).unwrap());
            files += 1;
            let own = ["chance.rs", "drawn.rs", "pack.rs", "program.rs", "situation.rs"];
            assert!(!own.contains(&name.as_str()) || imports.is_empty(), "{name}: {imports:?}");
            for import in imports {
                // Neither the governor's picture of a battery, nor the simulation that is built of it.
                for shared in
                    ["estimator", "battery", "Battery", "Ocv", "Charge", "Learned", "Horizon", "missions", "clock"]
                {
                    assert!(!import.contains(shared), "{name}: {import}");
                }
                let governs = import.contains("BudgetGovernor");
                assert!(!governs || name == "governed.rs", "{name}: {import}");
            }
        }
        assert!(files >= 12, "{files} files");
    }

    #[test]
    fn imports_are_found() {
        let text = "// crate::comment;\nuse dyn_perceiver_core::energy::{\n    Battery, PowerModel,\n};\n#[cfg(test)]\nuse crate::x;";
        assert_eq!(imports(text), ["dyn_perceiver_core::energy::{Battery,PowerModel,}"]);
    }
}
