// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Heads of transparency logs, on a chain: whoever is shown a checkpoint can see that it existed when its block was made,
/// and that its sender never anchored a smaller log or another one of the same size.
///
/// Heads are kept per sender and log. So there is no owner to trust or to lose, one deployment serves every log of a
/// chain, and nobody can take a log's name or push its head forward: a stranger writes under its own address alone. Who
/// relies on a head pins the sender's address, as one pins a public key.
contract CheckpointAnchor {
    struct Head {
        uint64 size;
        bytes32 root;
    }

    /// The last checkpoint by sender and keccak256 of the log's origin.
    mapping(address sender => mapping(bytes32 origin => Head)) public heads;

    /// A checkpoint was anchored. The chain's id is here because neither block header nor receipt holds it.
    event Anchored(address indexed sender, bytes32 indexed origin, uint64 size, bytes32 root, uint256 chainId);

    /// A digest was registered, such as that of a datanet's creation or of a contributor's registration.
    event Registered(address indexed sender, bytes32 indexed kind, bytes32 digest, uint256 chainId);

    /// The log was larger when this sender anchored it last.
    error SmallerSize(uint64 anchored, uint64 given);

    /// The log had another root at this size.
    error OtherRoot(uint64 size, bytes32 anchored, bytes32 given);

    /// A root of zeros means "none".
    error NoRoot();

    /// Anchors a checkpoint. The same one again is no error: a sender that lost track may repeat itself.
    function anchor(bytes32 origin, uint64 size, bytes32 root) external {
        if (root == 0) revert NoRoot();
        Head storage head = heads[msg.sender][origin];
        (uint64 anchored, bytes32 last) = (head.size, head.root);
        if (size < anchored) revert SmallerSize(anchored, size);
        if (size == anchored && last != 0 && last != root) revert OtherRoot(size, last, root);
        (head.size, head.root) = (size, root);
        emit Anchored(msg.sender, origin, size, root, block.chainid);
    }

    /// Registers a digest. Only the event is kept: a receipt proves it, and storage would cost as much again.
    function register(bytes32 kind, bytes32 digest) external {
        emit Registered(msg.sender, kind, digest, block.chainid);
    }
}
