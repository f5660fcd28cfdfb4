//! Prints a `{"start","end","score"}` line for every range of rows of a test table that is unlike a training table.
//! Arguments: the training table and the test table, both CSV.

use std::fs::File;
use std::io::{BufReader, stdout};

use heimdall_detect::multivariate::batch_multivariate;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut paths = std::env::args().skip(1);
    let (Some(train), Some(test)) = (paths.next(), paths.next()) else {
        return Err("usage: anomaly_multivariate TRAIN.csv TEST.csv".into());
    };
    batch_multivariate(
        BufReader::new(File::open(train)?),
        BufReader::new(File::open(test)?),
        stdout().lock(),
    )?;
    Ok(())
}
