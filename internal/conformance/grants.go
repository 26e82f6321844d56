package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"

	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// chooseGrant configures what a host has to say for the scenarios in which no
// user authorizes.
func (s settings) chooseGrant(shared *oauthclient.Shared) error {
	switch os.Getenv("MCP_CONFORMANCE_SCENARIO") {
	case "auth/client-credentials-basic":
		shared.Grant = oauthclient.ClientCredentials{}
	case "auth/client-credentials-jwt":
		signer, err := parseKey(s.PrivateKey)
		if err != nil {
			return err
		}
		shared.Grant = oauthclient.ClientCredentials{}
		shared.ClientKeys = []oauthclient.ClientKey{oauthclient.NewClientKey("", signer)}
		shared.PreregisteredClients[0].TokenEndpointAuthMethod = "private_key_jwt"
	case "auth/wif-jwt-bearer":
		shared.Grant = oauthclient.JWTBearer{Assertion: func(context.Context, string) (oauthclient.Secret, error) {
			return oauthclient.NewSecret(s.WorkloadJWT), nil
		}}
	case "auth/enterprise-managed-authorization":
		shared.Grant = oauthclient.EnterpriseManaged{
			TokenEndpoint: s.IDPTokenEndpoint, Client: oauthclient.PreregisteredClient{ClientID: s.IDPClientID},
			IDToken: func(context.Context, string) (oauthclient.Secret, error) {
				return oauthclient.NewSecret(s.IDPIDToken), nil
			},
		}
	}
	return nil
}

// parseKey reads a PKCS #8 key.
func parseKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the private key is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key does not sign")
	}
	return signer, nil
}
