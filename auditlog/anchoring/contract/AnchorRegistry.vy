# pragma version 0.4.3
# pragma evm-version cancun
"""
@title AnchorRegistry
@license Apache-2.0
@notice One storage slot for each (owner, log id): a compare-and-set on a hash chain of checkpoints.
@dev    The slot commits to every checkpoint ever anchored under it, in order:
            acc'  = keccak256(slot || root')
            slot' = keccak256(size' as uint256 || acc')
        The caller opens the present slot with (prev_size, prev_acc). Whoever does not know the newest
        anchor cannot write the next one, so a second writer with an older view reverts instead of
        forking. The first anchor of a log opens the empty slot with (0, 0).
        The owner is msg.sender and nobody else: no registration, no administrator, no upgrade, no funds.
        The block number stays out of the hash; the header that carries this transaction proves it.
        The contract does not check that one tree is a prefix of the next: it cannot. Whoever follows the
        Anchored events of one slot does that, with consistency proofs.
"""

event Anchored:
    owner: indexed(address)
    log_id: indexed(bytes32)
    size: uint64
    root: bytes32
    acc: bytes32


slots: public(HashMap[address, HashMap[bytes32, bytes32]])


@external
def anchor(log_id: bytes32, prev_size: uint64, prev_acc: bytes32, size: uint64, root: bytes32):
    """
    @notice Replace the newest checkpoint of the caller's log `log_id`.
    @param log_id The log, as SHA-256 of its origin under a label.
    @param prev_size Tree size of the checkpoint anchored last, 0 for none.
    @param prev_acc Accumulator of the checkpoint anchored last, empty for none.
    @param size Tree size of the new checkpoint; must be larger.
    @param root Root hash of the new checkpoint.
    """
    slot: bytes32 = self.slots[msg.sender][log_id]
    if slot == empty(bytes32):
        assert prev_size == 0 and prev_acc == empty(bytes32), "slot is empty"
    else:
        assert slot == keccak256(concat(convert(prev_size, bytes32), prev_acc)), "slot differs"
    assert size > prev_size, "size must grow"
    acc: bytes32 = keccak256(concat(slot, root))
    self.slots[msg.sender][log_id] = keccak256(concat(convert(size, bytes32), acc))
    log Anchored(owner=msg.sender, log_id=log_id, size=size, root=root, acc=acc)
