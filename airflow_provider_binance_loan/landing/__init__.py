"""Landing: the records of a dataset, to XCom or to objects in a destination, all of them or none."""
