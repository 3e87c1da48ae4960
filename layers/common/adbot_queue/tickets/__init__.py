"""NFT tickets."""
