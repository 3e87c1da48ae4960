"""AdBot Queue: paid orders become bots, first in, first out, on AWS Lambda."""
