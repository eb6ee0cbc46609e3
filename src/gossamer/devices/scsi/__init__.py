"""SCSI: command blocks, disks and CD-ROM drives, and what a host adapter has to offer them."""
